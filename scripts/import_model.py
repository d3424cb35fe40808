#!/usr/bin/env python3
"""Make a bundle of a finished Hugging Face classifier: tokenizer.json, manifest, self-test and card stub.

tasnif serves such a directory as it is; this adds what it doesn't have: hashes, a self-test, windows, and, from
labelled texts that the model was not trained on, calibration, thresholds and figures.

    scripts/import_model.py ~/models/news-classifier --out models/news --license Apache-2.0
    scripts/import_model.py ~/models/news-classifier --out models/news --calibrate labelled.jsonl
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasnif_train import classifier, fitting, labelled, tool, topic_bundle
from tasnif_train.bundle import Label
from tasnif_train.classifier import Classifier, Reader
from tasnif_train.fitting import Decision
from tasnif_train.labelled import Labelled, LabelledError
from tasnif_train.progress import progress
from tasnif_train.topic_bundle import BundleError, TopicManifest

log = logging.getLogger("import_model")

LEAST = 10
"""Texts to calibrate on; below it the priors decide alone."""
USUAL_TOKENS = 512

TEXTS = (
    "أعلنت الحكومة خطة جديدة لدعم المدارس في المناطق الريفية.",
    "The central bank left interest rates unchanged on Thursday.",
    "La sélection a remporté la finale après les tirs au but.",
)
"""For the self-test, where no labelled texts are given; what the model says of them needs no meaning."""

UNKNOWN = """\
## What is not known

This card was begun by `scripts/import_model.py`, which sees the files and nothing of how they came about. Fill in, or
find in the card of the original:

{points}
"""

MEASURED = """\
On the {texts} texts of {source}. Calibration and thresholds are cross-validated: fitted on one half of them, measured
on the other; what is in `tasnif.toml` is fitted on all of them. If the model was trained on any of these texts, the
figures are too good."""


@dataclass(frozen=True)
class Calibrated:
    """What labelled texts said of the model."""

    data: Labelled
    decision: Decision
    report: dict[str, Any]


def task(source: Path, config: Any) -> tuple[tuple[str, ...], bool]:
    """The labels, and whether many at once are given; as the service decides it for a model without tasnif.toml."""
    if not any(str(name).endswith("ForSequenceClassification") for name in config.architectures or []):
        raise BundleError(
            f"{source}: architectures is {config.architectures}; a finished …ForSequenceClassification is "
            "expected. An encoder without a head is a --base of scripts/finetune.py"
        )
    labels = classifier.labels_of(config)
    kind = config.problem_type
    if kind not in (None, "single_label_classification", "multi_label_classification"):
        raise BundleError(f"{source}: problem_type {kind!r} is not served; single- and multi-label classification are")
    return labels, kind == "multi_label_classification" or (kind is None and len(labels) == 1)


def calibrate(model: Classifier, data: Labelled, seed: int) -> Calibrated:
    with progress("measuring", "window") as tell:
        answers = model.answer([row.text for row in data.rows], tell)
    logits, truth = fitting.pool_all(answers, data.multi), data.truth()
    report = fitting.measure(logits, truth, data.labels, data.multi, labelled.folds(data, 2, seed))
    return Calibrated(data, fitting.fit(logits, truth, data.multi), report)


def unknown(manifest: TopicManifest, calibrated: Calibrated | None) -> str:
    points = ["- What it was trained on, by whom, and under which licences."]
    if manifest.base == "unknown":
        points.append("- The pretrained model that it was made from.")
    if manifest.license == "unstated":
        points.append("- The licence of the model.")
    if not manifest.languages:
        points.append("- The languages that it is good for.")
    if not calibrated:
        points.append(
            "- How good it is, and whether its scores can be believed: nothing was measured here, the scores are "
            "uncalibrated and the thresholds are the usual ones. `--calibrate` with labelled texts does it."
        )
    if any(label.id.startswith("LABEL_") for label in manifest.labels):
        points.append("- What its labels mean: config.json only numbers them.")
    return UNKNOWN.format(points="\n".join(points))


def run(args: argparse.Namespace) -> None:
    topic_bundle.check_out(args.out, args.replace)
    if not args.model.is_dir():
        raise BundleError(f"{args.model} is no directory; `hf download ID --local-dir DIR` brings a model of the hub")
    classifier.check_safetensors(args.model)
    config = classifier.load_config(str(args.model))
    labels, multi = task(args.model, config)
    entry = classifier.input_of(config, args.max_tokens, USUAL_TOKENS, args.prefix)
    data = None
    if args.calibrate:
        read = labelled.read(args.calibrate, args.text_field, args.label_field, args.multi_label or multi)
        data = labelled.for_labels(read, labels, multi)
        if len(data.rows) < LEAST:
            raise LabelledError(f"{data.source}: {len(data.rows)} texts; at least {LEAST} are needed to calibrate")

    with topic_bundle.staged(args.out, args.replace) as folder:
        classifier.write_weights(args.model, folder)
        reader = Reader(classifier.write_tokenizer(str(args.model), folder), entry)
        model, missing = classifier.load_model(folder)
        if missing:
            raise BundleError(
                f"{args.model}: the weights lack {', '.join(sorted(missing))}; without a trained head its answers "
                "would be random. An encoder without a head is a --base of scripts/finetune.py"
            )
        loaded = Classifier(model, reader)
        calibrated = calibrate(loaded, data, args.seed) if data else None
        manifest = TopicManifest(
            name=args.out.name,
            version=args.version,
            description=args.description or f"{args.model.resolve().name}, imported",
            license=args.license,
            base=classifier.base_of(args.model),
            languages=topic_bundle.languages(args.languages),
            input=entry,
            head="classifier",
            multi=multi,
            labels=tuple(Label(label, {}) for label in labels),
        ).decided(calibrated.decision if calibrated else Decision.plain(len(labels), multi))
        candidates = [(row.text, row.labels) for row in data.rows] if data else [(t, frozenset({t})) for t in TEXTS]
        lengths = [len(ids) for ids in reader.text_ids([text for text, _ in candidates])]
        golden = topic_bundle.golden_texts(candidates, lengths, reader.room)
        topic_bundle.write_golden(folder, loaded.golden(golden, labels, manifest.decision()))
        card = topic_bundle.heading(
            manifest, f"Imported from `{args.model.resolve().name}` by `scripts/import_model.py`."
        )
        if calibrated:
            how = MEASURED.format(texts=len(calibrated.data.rows), source=calibrated.data.source)
            card += topic_bundle.quality(calibrated.report, multi, how)
        card.append(unknown(manifest, calibrated))
        (folder / "README.md").write_text("\n".join(card), encoding="utf-8")
        topic_bundle.write_manifest(folder, manifest)
    measured = calibrated.report if calibrated else None
    log.info(
        "wrote %s%s", args.out, f"; macro-F1 {measured['macro_f1']:.3f}, ECE {measured['ece']:.3f}" if measured else ""
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the directory that save_pretrained wrote")
    parser.add_argument(
        "--calibrate", type=Path, metavar="FILE", help="labelled texts (.jsonl, .csv or .tsv) that it has not seen"
    )
    labelled.add_arguments(parser)
    parser.add_argument("--prefix", default="", help="put before each text, if the model was trained so")
    parser.add_argument(
        "--max-tokens", type=int, help=f"a window; longer texts take several (default: {USUAL_TOKENS}, if it has them)"
    )
    parser.add_argument("--seed", type=int, default=13, help="of the halves that figures are cross-validated on")
    parser.add_argument("--threads", type=int, help="processors to use (default: all)")
    topic_bundle.add_arguments(parser)
    args = parser.parse_args()
    return tool.run(args, run)


if __name__ == "__main__":
    sys.exit(main())
