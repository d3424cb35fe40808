"""Bundles that only have topics, of one's own labels: manifest, self-test, card, and how they come to their place."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasnif_train.bundle import FORMAT, UNHASHED, Label, Source
from tasnif_train.calibration import TopicCalibration
from tasnif_train.fitting import Decision
from tasnif_train.markdown import table

GOLDEN = 3
"""How many texts the self-test has: each costs a pass of the encoder at every load."""


class BundleError(Exception):
    """A bundle can't be made; the message says what to do."""


@dataclass(frozen=True)
class Input:
    """`[input]` and `[windows]` of tasnif.toml."""

    template: str
    prefix: str
    tokens: int
    overlap: int
    target_tokens: int = 0


@dataclass(frozen=True)
class TopicManifest:
    """The contents of tasnif.toml, file hashes aside; `head` is "mean" or "classifier"."""

    name: str
    version: str
    description: str
    license: str
    base: str
    languages: tuple[str, ...]
    input: Input
    head: str
    multi: bool
    labels: tuple[Label, ...]
    training: tuple[Source, ...] = ()

    def decided(self, decision: Decision) -> TopicManifest:
        """With this calibration and these thresholds, rounded as they are written."""
        fitted = decision.calibration
        columns = zip(self.labels, fitted.threshold, fitted.scale, fitted.bias, strict=True)
        return replace(
            self,
            labels=tuple(
                replace(label, threshold=round(float(t), 4), scale=round(float(s), 4), bias=round(float(b), 4))
                for label, t, s, b in columns
            ),
        )

    def decision(self) -> Decision:
        """How it decides, in the numbers that are written: the self-test is computed with these."""
        columns = ([getattr(label, name) for label in self.labels] for name in ("scale", "bias", "threshold"))
        return Decision(self.multi, TopicCalibration(*(np.array(column, dtype=np.float64) for column in columns)))


def to_toml(manifest: TopicManifest, files: Mapping[str, str]) -> str:
    """tasnif.toml; JSON's strings, numbers and lists of them are TOML's too."""

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    entry = manifest.input
    lines = [f"format = {FORMAT}"]
    lines += [f"{k} = {text(getattr(manifest, k))}" for k in ("name", "version", "description", "license", "base")]
    lines += [
        f"languages = {text(list(manifest.languages))}",
        *("", "[input]", f"template = {text(entry.template)}", f"prefix = {text(entry.prefix)}"),
        *("", "[windows]", f"tokens = {entry.tokens}", f"overlap = {entry.overlap}"),
        f"target_tokens = {entry.target_tokens}",
        *("", "[topics]", f"head = {text(manifest.head)}"),
        f"scores = {text('sigmoid' if manifest.multi else 'softmax')}",
        f"windows = {text('max' if manifest.multi else 'mean')}",
    ]
    for label in manifest.labels:
        names = ", ".join(f"{lang} = {text(name)}" for lang, name in label.names.items())
        lines += [
            *("", "[[topics.labels]]", f"id = {text(label.id)}", f"threshold = {label.threshold}"),
            f"calibration = {{ scale = {label.scale}, bias = {label.bias} }}",
            *([f"name = {{ {names} }}"] if names else []),
            *([f"iptc = {text(list(label.iptc))}"] if label.iptc else []),
        ]
    for source in manifest.training:
        lines += ["", "[[training]]", f"source = {text(source.source)}", f"license = {text(source.license)}"]
        lines.append(f"examples = {source.examples}")
    lines += ["", "[files]", *(f"{text(name)} = {text(digest)}" for name, digest in sorted(files.items()))]
    return "\n".join(lines) + "\n"


def write_manifest(folder: Path, manifest: TopicManifest) -> None:
    """Write tasnif.toml last: it names the hash of every other file."""
    files = {}
    for path in folder.iterdir():
        if path.is_file() and path.name not in UNHASHED:
            with path.open("rb") as content:
                files[path.name] = hashlib.file_digest(content, "sha256").hexdigest()
    (folder / "tasnif.toml").write_text(to_toml(manifest, files), encoding="utf-8")


def write_golden(folder: Path, cases: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """golden.jsonl: texts of one window each with the calibrated scores that the loader must reproduce."""
    lines = [
        json.dumps(
            {"article": {"text": text}, "topics": {label: round(float(score), 6) for label, score in scores.items()}},
            ensure_ascii=False,
        )
        for text, scores in cases
    ]
    (folder / "golden.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def golden_texts(candidates: Sequence[tuple[str, frozenset[str]]], lengths: Sequence[int], room: int) -> list[str]:
    """Texts for the self-test that fit one window, of different labels first and short ones before long ones.

    Where none fits, the beginning of the shortest, cut with plenty to spare: what is lost is no matter here.
    """
    order = sorted(range(len(candidates)), key=lambda i: lengths[i])
    fitting = [candidates[i] for i in order if lengths[i] <= room]
    if not fitting:
        text, length = candidates[order[0]][0], lengths[order[0]]
        return [text[: max(1, len(text) * room // (2 * length))].strip()]
    chosen: list[str] = []
    seen: set[frozenset[str]] = set()
    for text, labels in fitting:
        if labels not in seen:
            seen.add(labels)
            chosen.append(text)
    chosen += [text for text, _ in fitting if text not in chosen]
    return chosen[:GOLDEN]


@contextmanager
def staged(out: Path, replace_old: bool) -> Iterator[Path]:
    """A folder to fill that becomes `out` when everything went well, and vanishes otherwise.

    It lies one level deeper than `out`, on the same file system: a service that watches the models folder must not
    take it for a bundle.
    """
    check_out(out, replace_old)
    out.parent.mkdir(parents=True, exist_ok=True)
    shelter = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        folder = shelter / "new"
        folder.mkdir()
        yield folder
        if out.exists():
            out.rename(shelter / "old")
        folder.rename(out)
    finally:
        shutil.rmtree(shelter, ignore_errors=True)


def check_out(out: Path, replace_old: bool) -> None:
    """To be asked before the work, not after it."""
    # The name goes into requests, where "@" parts it from the version, and into paths of the administration's routes.
    if not re.fullmatch(r"\w[\w.-]*", out.name):
        raise BundleError(f"{str(out)!r}: the folder's name becomes the model's: letters, digits, '-', '_' and '.'")
    if out.exists() and not replace_old:
        raise BundleError(f"{out} is there already; choose another --out, or --replace it")


def link_or_copy(source: Path, target: Path) -> None:
    """For a file that never changes: one copy on disk, and in memory, where the file system can."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every way to a bundle has."""
    parser.add_argument("--out", type=Path, required=True, help="the bundle to write, such as models/desk")
    parser.add_argument("--replace", action="store_true", help="replace a bundle that is there already")
    parser.add_argument("--version", default="1.0.0", help="version of the model (default: 1.0.0)")
    parser.add_argument("--description", default="", help="one line about the model")
    parser.add_argument("--license", default="unstated", help="licence of the model (default: unstated)")
    parser.add_argument("--data-license", default="unstated", help="licence of the labelled texts (default: unstated)")
    parser.add_argument("--languages", default="", help="languages of the texts, such as ar,en")


def languages(given: str) -> tuple[str, ...]:
    return tuple(code.strip() for code in given.split(",") if code.strip())


def heading(manifest: TopicManifest, made: str) -> list[str]:
    """How a card begins."""
    how = "many labels at once" if manifest.multi else "one label a text"
    return [
        f"# {manifest.name} {manifest.version}",
        "",
        *([f"{manifest.description.rstrip('.')}.", ""] if manifest.description else []),
        f"Classifies texts by {len(manifest.labels)} labels ({how}): "
        f"{', '.join(label.id for label in manifest.labels)}.",
        "",
        made,
        "",
        f"- Base: {manifest.base}",
        f"- Licence of the model: {manifest.license}",
        f"- Languages of the training texts: {', '.join(manifest.languages) or 'unstated'}",
        *(f"- Training data: {s.source}, {s.examples} texts, licence: {s.license}" for s in manifest.training),
        "",
    ]


def quality(report: Mapping[str, Any], multi: bool, how: str) -> list[str]:
    """The measured part of a card."""
    values: list[Sequence[str | int | float]] = [
        ["Texts", report["articles"]],
        ["Micro-F1" if multi else "Accuracy", report["micro_f1"]],
        *([] if multi else [["Accuracy of always giving the commonest label", report["commonest"]]]),
        ["Macro-F1", report["macro_f1"]],
        ["Mean average precision", report["map"]],
        ["ECE over all label decisions" if multi else "ECE of the label chosen", report["ece"]],
    ]
    return [
        "## How good it is",
        "",
        how,
        "",
        *table(["Figure", "Value"], values),
        *table(
            ["Label", "Texts", "Precision", "Recall", "F1"],
            [
                [label, int(v["positives"]), v["precision"], v["recall"], v["f1"]]
                for label, v in report["labels"].items()
            ],
        ),
        *doubts(report),
    ]


def doubts(report: Mapping[str, Any]) -> list[str]:
    """What the figures can't carry."""
    few = [label for label, v in report["labels"].items() if v["positives"] < 20]
    if not few:
        return []
    return [f"Fewer than 20 texts of {', '.join(few)} were measured: one text more or less moves these figures.", ""]
