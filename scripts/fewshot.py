#!/usr/bin/env python3
"""Topics of one's own from a few labelled texts: a linear head on the frozen encoder of a shipped bundle.

Ten texts a label give something to try, some dozens something to use; minutes on a CPU, since each text goes through
the encoder once. The head is logistic regression on the mean text state (models/README.md); how strongly it is
regularised, its calibration and its thresholds come from cross-validation.

    scripts/fewshot.py labelled.jsonl --out models/desk
    scripts/fewshot.py labelled.csv --encoder models/default --label-field section --out models/desk

The bundle shares the word embeddings with the encoder's: it takes about 30 MB more on disk.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from pathlib import Path

from tasnif_train import bundle, fitting, heads, labelled, tool, topic_bundle
from tasnif_train.bundle import Label, Source
from tasnif_train.heads import Embedded, Head
from tasnif_train.labelled import Labelled, LabelledError
from tasnif_train.progress import progress
from tasnif_train.shipped import Shipped
from tasnif_train.topic_bundle import BundleError, Input, TopicManifest

log = logging.getLogger("fewshot")

FOLDS = 5
LEAST = 3
"""Texts a label; with fewer than FOLDS of them there are fewer folds."""
EMBEDDINGS = "embeddings.safetensors"
HEADS = "heads.safetensors"

MADE = """\
A few-shot head by `scripts/fewshot.py`: logistic regression (C = {strength:g}, by cross-validation) on the mean text
state of the frozen encoder of {encoder}, from {texts} texts."""

MEASURED = """\
Cross-validated over the {texts} labelled texts in {folds} parts: each was judged by a head, a calibration and
thresholds fitted on the other parts. What is in the bundle is fitted on all of them."""


def load_encoder(folder: Path) -> Shipped:
    try:
        return Shipped.load(folder)
    except (OSError, KeyError, ValueError) as error:
        raise BundleError(
            f"{folder} is not a bundle with a frozen encoder to build on, such as models/default: {error!r}"
        ) from error


def embed(shipped: Shipped, data: Labelled) -> list[Embedded]:
    with progress("reading", "window") as tell:
        found: list[Embedded] = heads.embed(shipped, [row.text for row in data.rows], tell)
    for row, embedded in zip(data.rows, found, strict=True):
        if not embedded.tokens.any():
            raise LabelledError(f"{data.source}, line {row.line}: the tokenizer finds nothing in this text")
    return found


def cases(
    shipped: Shipped, head: Head, texts: list[str], manifest: TopicManifest
) -> list[tuple[str, dict[str, float]]]:
    """Texts with their calibrated scores, one at a time as the service would read them."""
    decision, found = manifest.decision(), []
    for text in texts:
        (embedded,) = heads.embed(shipped, [text])
        (scores,) = decision.scores(fitting.pool_all([head.answer(embedded)], manifest.multi))
        found.append((text, dict(zip((label.id for label in manifest.labels), scores.tolist(), strict=True))))
    return found


def run(args: argparse.Namespace) -> None:
    topic_bundle.check_out(args.out, args.replace)
    data = labelled.read(args.file, args.text_field, args.label_field, args.multi_label)
    labelled.check(data, LEAST)
    shipped = load_encoder(args.encoder)
    truth = data.truth()
    parts = min(FOLDS, int(truth.sum(axis=0).min()))
    part = labelled.folds(data, parts, args.seed)
    log.info("%d texts, labels: %s; %d parts to cross-validate", len(data.rows), ", ".join(data.labels), parts)

    embedded = embed(shipped, data)
    strength, answers = heads.cross_validate(embedded, truth, data.multi, part)
    head = heads.fit(embedded, truth, data.multi, strength)
    logits = fitting.pool_all(answers, data.multi)
    report = fitting.measure(logits, truth, data.labels, data.multi, part)
    sequence = shipped.manifest.sequence
    encoder = f"{shipped.manifest.name} {shipped.manifest.version}"
    manifest = TopicManifest(
        name=args.out.name,
        version=args.version,
        description=args.description or f"few-shot head on the encoder of {encoder}, from {data.source}",
        license=args.license,
        base=encoder,
        languages=topic_bundle.languages(args.languages),
        input=Input("pair", sequence.prefix, sequence.tokens, sequence.overlap, sequence.target_tokens),
        head="mean",
        multi=data.multi,
        labels=tuple(Label(label, {}) for label in data.labels),
        training=(Source(data.source, args.data_license, len(data.rows)), *shipped.manifest.training),
    ).decided(fitting.fit(logits, truth, data.multi))

    with topic_bundle.staged(args.out, args.replace) as folder:
        for path in args.encoder.glob("*.safetensors"):
            if path.name == EMBEDDINGS:
                topic_bundle.link_or_copy(path, folder / path.name)
            elif path.name != HEADS:
                # Not linked: a new export of the encoder writes over the file where it lies.
                shutil.copyfile(path, folder / path.name)
        for name in ("config.json", "tokenizer.json"):
            shutil.copyfile(args.encoder / name, folder / name)
        bundle.write_tensors(folder / HEADS, {"topics.weight": head.weight, "topics.bias": head.bias})
        room = shipped.layout.room([])
        candidates = [(row.text, row.labels) for row in data.rows]
        lengths = [int(e.tokens.sum()) if len(e.tokens) == 1 else room + 1 for e in embedded]
        golden = topic_bundle.golden_texts(candidates, lengths, room)
        topic_bundle.write_golden(folder, cases(shipped, head, golden, manifest))
        made = MADE.format(strength=strength, encoder=encoder, texts=len(data.rows))
        how = MEASURED.format(texts=len(data.rows), folds=parts)
        card = [*topic_bundle.heading(manifest, made), *topic_bundle.quality(report, data.multi, how)]
        (folder / "README.md").write_text("\n".join(card), encoding="utf-8")
        topic_bundle.write_manifest(folder, manifest)
    log.info(
        "wrote %s; cross-validated: %s %.3f, macro-F1 %.3f, ECE %.3f",
        *(args.out, "micro-F1" if data.multi else "accuracy", report["micro_f1"], report["macro_f1"], report["ece"]),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the labelled texts: .jsonl, .csv or .tsv")
    labelled.add_arguments(parser)
    parser.add_argument("--encoder", type=Path, default=Path("models/default"), help="the bundle whose encoder is used")
    parser.add_argument("--seed", type=int, default=13, help="of the parts that are cross-validated")
    parser.add_argument("--threads", type=int, help="processors to use (default: all)")
    topic_bundle.add_arguments(parser)
    args = parser.parse_args()
    return tool.run(args, run)


if __name__ == "__main__":
    sys.exit(main())
