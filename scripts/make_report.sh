#!/bin/sh
# From a served bundle to its report: the test file, the tuning split, the probes, docs/evaluation/NAME.md, the card.
#
#   tasnif serve & scripts/make_report.sh DATA URL [MODEL]
#   scripts/make_report.sh ../shared/data http://127.0.0.1:8080
#
# MODEL is the name of the bundle below models/ (default `default`), PYTHON the interpreter (default python3), RUN the
# directory of reports (default runs/MODEL), CONFIG the configuration of the training run (default configs/default.toml).
# What RUN has already is not measured again: delete it to measure a new version. TEST="tuning split" leaves the test
# file unread while a recipe is still being chosen.
set -eu
cd "$(dirname "$0")/.."
data=$1 url=$2 model=${3:-default}
python=${PYTHON:-python3} run=${RUN:-runs/$model} config=${CONFIG:-scripts/configs/default.toml}
bundle=models/$model training=$data/annotated.train.jsonl.xz
mkdir -p "$run"

measure() { # JSON, then what evaluate.py is told
    report=$1
    shift
    [ -e "$report" ] || "$python" scripts/evaluate.py --url "$url" --model "$model" --bundle "$bundle" \
        --config "$config" --baselines "$training" --trained "$data" --json "$report" --markdown /dev/null "$@"
}

measure "$run/tuning.json" --held-out "$training"
"$python" scripts/probe.py --url "$url" --model "$model" --data "$data" --config "$config" --out "$run/probes.json"
set -- "$run/tuning.json"
if [ "${TEST:-}" != "tuning split" ]; then
    measure "$run/test.json" "$data/annotated.test.jsonl.xz"
    set -- "$run/test.json" "$@"
fi
"$python" scripts/evaluation_report.py --evaluation "$@" --probes "$run/probes.json" --out "docs/evaluation/$model.md"
