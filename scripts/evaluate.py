#!/usr/bin/env python3
"""Measure a served model on annotated articles: topics, stance, calibration; as JSON and as Markdown.

The articles are posted to a running service (POST /v1/classify), so that what is measured is what answers: the
compiled engine with its windows, int8 weights and thresholds. Each article is asked thrice: without targets (topics
and the stance of its main subject), with its own targets plus one taken from an article that shares no topic with
it, which should come out as `unrelated`, and with its own targets beside a text that says nothing.

    tasnif serve &
    scripts/evaluate.py --url http://127.0.0.1:8080 ../shared/data/annotated.test.jsonl.xz --json report.json

--torch runs the same figures on a bundle through torch, for use while no service is at hand; its report says so.
--held-out keeps only the articles of the tuning split, out of the file that was trained on and without the sources that
--config excludes, and adds examples of errors: texts of a test file are not for reading.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from tasnif_train import bundle, calibration, corpus, data, evaluation, markdown
from tasnif_train import config as configuration
from tasnif_train.apart import Shingled
from tasnif_train.service import Service


def torch_backend(folder: Path) -> evaluation.Backend:
    from tasnif_train.shipped import Shipped

    return Shipped.load(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="annotated articles, .jsonl or .jsonl.xz")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="base address of a running service")
    where.add_argument("--torch", type=Path, metavar="BUNDLE", help="a bundle, run in torch instead")
    parser.add_argument("--model", help="ask the service for this model")
    parser.add_argument("--held-out", action="store_true", help="only the tuning split of the file")
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "configs/default.toml")
    parser.add_argument(
        "--bundle", type=Path, help="what is served: adds calibration before and after, languages of training"
    )
    parser.add_argument(
        "--baselines", type=Path, metavar="TRAIN", help="fit target-only and text-only stance on this file"
    )
    parser.add_argument(
        "--trained",
        type=Path,
        metavar="DATA",
        help="directory of the training data: adds figures for the texts that stand in a set of training too, and for "
        "the others (training leaves such texts out; weights that it began from may have seen them)",
    )
    parser.add_argument("--languages", nargs="*", help="only these")
    parser.add_argument("--limit", type=int, help="only the first so many")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", type=Path, help="write the tables here (default: standard output)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    config = configuration.load(args.config)

    def split(file: Path) -> tuple[list[data.Article], list[data.Article]]:
        return data.split(data.read_annotated(file, config.excluded_sources), config.holdout_percent)

    articles = split(args.file)[1] if args.held_out else [data.parse_annotated(r) for r in data.read_jsonl(args.file)]
    if args.languages:
        articles = [a for a in articles if a.lang in args.languages]
    articles = articles[: args.limit]
    folder = args.bundle or args.torch
    manifest = bundle.read_manifest(folder) if folder else None
    service = Service(args.url, args.model) if args.url else None
    version = service.version() if service else ""
    if manifest:
        described = f"{manifest.name} {manifest.version}"
        if version not in ("", described):
            parser.error(f"{args.url} serves {version}, {folder} is {described}")
        version = described
    backend: evaluation.Backend = service or torch_backend(args.torch)
    trained = {}
    if args.baselines:
        from tasnif_train import baselines

        # First, for they may fail: a test file is to be looked at once.
        trained = baselines.shortcuts(split(args.baselines)[0], articles)
    elsewhere = Shingled(a.text for a in corpus.articles(config, args.config, args.trained)) if args.trained else None
    judged = evaluation.ask(backend, articles)
    labels = sorted({label for answer in judged.main for label in answer.topics})
    engine = "the tasnif service" if args.url else f"torch, bundle {args.torch.name}"
    name = args.file.name.split(".jsonl")[0] + (
        ", tuning split (which the calibration was fitted on)" if args.held_out else ""
    )
    figures = {
        "engine": engine,
        "model": version,
        "data": name,
        **evaluation.report(
            judged,
            labels,
            manifest.languages if manifest else (),
            calibration.of_manifest(manifest, labels) if manifest else None,
            elsewhere,
        ),
    }
    figures["shortcuts"] |= trained
    if args.held_out:
        figures["errors"] = evaluation.errors(judged, labels)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, ensure_ascii=False) + "\n", encoding="utf-8")
    text = markdown.evaluation(figures, f"{name} ({engine})")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
