"""A labelled set of one's own: JSONL or CSV of texts with labels, and how it is parted for fitting and measuring."""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SEPARATOR = ";"
MANY = (list, tuple)


class LabelledError(Exception):
    """Something that the person who labelled must repair; the message says where."""


@dataclass(frozen=True)
class Row:
    """A text with its labels, and the line of the file that it begins on."""

    line: int
    text: str
    labels: frozenset[str]


@dataclass(frozen=True)
class Labelled:
    """A whole set; `labels` are in alphabetical order unless a model gave another."""

    source: str
    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    multi: bool
    repeated: int = 0

    def truth(self, rows: Sequence[int] | None = None) -> npt.NDArray[np.bool_]:
        """[rows, labels]"""
        chosen = self.rows if rows is None else [self.rows[i] for i in rows]
        found = [[label in row.labels for label in self.labels] for row in chosen]
        return np.array(found, dtype=bool).reshape(len(chosen), len(self.labels))


def read(path: Path, text_field: str = "text", label_field: str = "label", multi: bool = False) -> Labelled:
    """Read a labelled set.

    Labels are one string, or many at once as a list or as "a;b". Any row with many makes the whole set multi-label;
    `multi` does so where every text happens to have one.
    """
    entries = list(_entries(path))
    if not entries:
        raise LabelledError(f"{path}: no rows")
    many = multi or any(
        isinstance(value, MANY) or (isinstance(value, str) and SEPARATOR in value)
        for value in (row.get(label_field) for _, row in entries)
    )
    rows: list[Row] = []
    first: dict[str, Row] = {}
    repeated = 0
    for line, entry in entries:
        where = f"{path}, line {line}"
        text = _field(entry, text_field, where)
        if not isinstance(text, str):
            raise LabelledError(f"{where}: {text_field!r} is {type(text).__name__}, a string is expected")
        if not text.strip():
            raise LabelledError(f"{where}: {text_field!r} is empty; remove the row or give its text")
        row = Row(line, text, _labels(_field(entry, label_field, where), many, label_field, where))
        # The same text on both sides of the split would be recognised rather than judged.
        known = first.setdefault(" ".join(text.split()), row)
        if known is row:
            rows.append(row)
        elif known.labels == row.labels:
            repeated += 1
        else:
            raise LabelledError(
                f"{where}: the text of line {known.line} again, with other labels "
                f"({_listed(row.labels)} instead of {_listed(known.labels)}); decide for one of them"
            )
    names = tuple(sorted({label for row in rows for label in row.labels}))
    return Labelled(path.name, tuple(rows), names, many, repeated)


def check(data: Labelled, least: int) -> None:
    """Every label needs enough texts to learn from and to be measured on."""
    if len(data.labels) < (1 if data.multi else 2):
        raise LabelledError(f"{data.source}: {len(data.labels)} labels; there is nothing to tell apart")
    counted = Counter(label for row in data.rows for label in row.labels)
    few = [f"{label!r} has {counted[label]}" for label in data.labels if counted[label] < least]
    if few:
        raise LabelledError(
            f"{data.source}: {', '.join(few)}, at least {least} texts a label are needed; "
            "label more, or merge or remove the label"
        )
    everywhere = [label for label in data.labels if counted[label] == len(data.rows)]
    if everywhere:
        raise LabelledError(f"{data.source}: {_listed(everywhere)} is on every text; add texts without it")


def for_labels(data: Labelled, labels: Sequence[str], multi: bool) -> Labelled:
    """The set in the order of a model's own labels."""
    known = set(labels)
    for row in data.rows:
        if unknown := row.labels - known:
            raise LabelledError(
                f"{data.source}, line {row.line}: the model has no label {_listed(unknown)}; it has {_listed(labels)}"
            )
        if not multi and len(row.labels) != 1:
            raise LabelledError(
                f"{data.source}, line {row.line}: {len(row.labels)} labels, but the model gives one a text"
            )
    return replace(data, labels=tuple(labels), multi=multi)


def subset(data: Labelled, rows: Sequence[int]) -> Labelled:
    return replace(data, rows=tuple(data.rows[i] for i in rows))


def folds(data: Labelled, parts: int, seed: int) -> npt.NDArray[np.int64]:
    """The part (0 … parts - 1) that each row belongs to; each label is spread over all parts as evenly as it goes.

    Rare labels choose first: else the texts that carry them may all have been dealt out for a commoner one.
    """
    rng = random.Random(seed)
    truth = data.truth()
    part = np.full(len(data.rows), -1, dtype=np.int64)
    for label in [*np.argsort(truth.sum(axis=0), kind="stable"), None]:
        of_label = truth[:, label] if label is not None else np.ones(len(part), dtype=bool)
        waiting = [int(i) for i in np.flatnonzero(of_label & (part < 0))]
        rng.shuffle(waiting)
        for i in waiting:
            # Ties go to the later part, so that the first, which is held out, is never the largest.
            part[i] = min(range(parts), key=lambda p: (int((of_label & (part == p)).sum()), int((part == p).sum()), -p))
    return part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say how a labelled file is read."""
    parser.add_argument("--text-field", default="text", help="field or column of the text (default: text)")
    parser.add_argument(
        "--label-field",
        default="label",
        help='field or column of the label: a string, or a list or "a;b" for many at once (default: label)',
    )
    parser.add_argument(
        "--multi-label", action="store_true", help="many labels at once are possible, even if no row has them"
    )


def _entries(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and fields of each row."""
    suffix = path.suffix.lower()
    try:
        if suffix in (".jsonl", ".ndjson"):
            yield from _json_lines(path)
        elif suffix in (".csv", ".tsv"):
            yield from _table(path, "\t" if suffix == ".tsv" else ",")
        else:
            raise LabelledError(f"{path}: a .jsonl, .csv or .tsv file is expected")
    except OSError as error:
        raise LabelledError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelledError(f"{path}: not UTF-8 ({error.reason}); convert it with iconv") from error


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
            except json.JSONDecodeError as error:
                raise LabelledError(f"{path}, line {number}: not JSON: {error.msg}") from error
            if not isinstance(entry, dict):
                raise LabelledError(f"{path}, line {number}: an object is expected")
            yield number, entry


def _table(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # The module's limit of 128 KiB a cell is less than a long article.
    csv.field_size_limit(1 << 26)
    # Spreadsheets write a byte order mark; it must not become part of the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=delimiter)
        end = 1
        try:
            for entry in reader:
                # A quoted cell may hold line breaks: `line_num` is where the row ends.
                yield end + 1, {key: value for key, value in entry.items() if value is not None}
                end = reader.line_num
        except csv.Error as error:
            raise LabelledError(f"{path}, line {reader.line_num}: {error}") from error


def _field(entry: dict[str, Any], name: str, where: str) -> Any:
    value = entry.get(name)
    if value is None:
        raise LabelledError(f"{where}: no field {name!r}; it has {_listed(k for k in entry if isinstance(k, str))}")
    return value


def _labels(value: Any, many: bool, name: str, where: str) -> frozenset[str]:
    parts = list(value) if isinstance(value, MANY) else str(value).split(SEPARATOR) if many else [value]
    # Numbers happen as labels of exported data; anything deeper is a mistake.
    if any(isinstance(part, bool) or not isinstance(part, str | int) for part in parts):
        raise LabelledError(f"{where}: {name!r} holds {value!r}; strings are expected")
    labels = frozenset(str(part).strip() for part in parts) - {""}
    if not labels and not many:
        raise LabelledError(f"{where}: {name!r} is empty; give the label or remove the row")
    return labels


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "nothing"
