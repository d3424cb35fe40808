"""Rows of JSONL, CSV and Parquet files as articles; a row that can't be read becomes an error record."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from .client import Item
from .types import ErrorRecord, fault

TABLES = ("csv", "parquet")
FORMATS = ("jsonl", *TABLES)


class InputRefusedError(Exception):
    """The file as a whole can't be read; the message tells why and what to do."""


@dataclass(frozen=True)
class Fields:
    """What a row's columns are called; `target` is `None` where all rows have the same targets."""

    text: str = "text"
    title: str = "title"
    id: str = "id"
    language: str = "language"
    target: str | None = "targets"
    keep: tuple[str, ...] = ()

    def columns(self) -> list[str]:
        named = (self.text, self.title, self.id, self.language, self.target, *self.keep)
        return list(dict.fromkeys(name for name in named if name))


@dataclass(frozen=True)
class Row:
    """A row of the input, from 1."""

    number: int
    article: Item
    kept: dict[str, Any] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say what is read and asked, named as those of `tasnif score`."""
    parser.add_argument("--text-field", default="text", metavar="COLUMN", help="the text (default: text)")
    parser.add_argument("--title-field", default="title", metavar="COLUMN", help="the title (default: title)")
    parser.add_argument("--id-field", default="id", metavar="COLUMN", help="the id, text or number (default: id)")
    parser.add_argument(
        "--language-field", default="language", metavar="COLUMN", help="the ISO 639-1 code (default: language)"
    )
    targets = parser.add_mutually_exclusive_group()
    targets.add_argument(
        "--target-field",
        metavar="COLUMN",
        help="each row's own target, or a list of them; a|b in CSV (default: targets, if there is one)",
    )
    targets.add_argument(
        "--target",
        action="append",
        dest="targets",
        default=[],
        metavar="TARGET",
        help="what to judge the stance of all rows toward; repeat it. Without any: each article's main subject",
    )
    parser.add_argument("--keep", default="", metavar="COLUMNS", help="columns that go into the output, a,b,c")
    parser.add_argument("--model", metavar="NAME", help="a model of the service (default: its default)")
    parser.add_argument("--tasks", metavar="TASKS", help="topics, stance, or both (default)")
    parser.add_argument("--top-k", type=int, metavar="K", help="the best K topics instead of all")
    parser.add_argument("--threshold", type=float, metavar="0..1", help="one threshold for all topics")


def fields(args: argparse.Namespace) -> Fields:
    target = None if args.targets else args.target_field or "targets"
    keep = tuple(name for name in args.keep.split(",") if name)
    return Fields(args.text_field, args.title_field, args.id_field, args.language_field, target, keep)


def options(args: argparse.Namespace) -> dict[str, Any]:
    """What is asked of all articles alike."""
    asked = {
        "targets": args.targets,
        "model": args.model,
        "tasks": args.tasks and args.tasks.split(","),
        "top_k": args.top_k,
        "threshold": args.threshold,
    }
    return {name: value for name, value in asked.items() if value not in (None, [])}


def format_of(path: str, given: str | None = None) -> str:
    """The format that a file's name tells, .gz and .zst aside."""
    name = path.lower().removesuffix(".gz").removesuffix(".zst")
    found = given or {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}.get(
        Path(name).suffix
    )
    if found is None:
        raise InputRefusedError(f"{path}: .jsonl, .csv or .parquet is expected; name the format with a flag")
    return found


def read(path: str, kind: str, names: Fields) -> Iterator[Row]:
    """All rows of a file, or of standard input for `-`."""
    if kind == "parquet":
        import pyarrow.parquet

        return parquet(pyarrow.parquet.ParquetFile(path), names)
    stream = _open(path)
    return jsonl(stream, names) if kind == "jsonl" else _csv(stream, path, names)


def count(path: str, kind: str) -> int | None:
    """Rows of a file for the progress bar, where that costs no more than reading it once; CSV's is an upper bound."""
    if kind == "parquet":
        import pyarrow.parquet

        return cast(int, pyarrow.parquet.ParquetFile(path).metadata.num_rows)
    if path == "-" or path.endswith((".gz", ".zst")):
        return None
    with open(path, "rb") as stream:
        lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    return lines - (kind == "csv")


def types(path: str) -> dict[str, Any]:
    """The Arrow types of a Parquet file's columns."""
    import pyarrow.parquet

    return {field.name: field.type for field in pyarrow.parquet.read_schema(path)}


def jsonl(lines: Iterable[bytes], names: Fields) -> Iterator[Row]:
    """Every line is a row, empty ones too, so that line n of the output answers line n of the input."""
    for number, line in enumerate(lines, 1):
        # Some editors begin a file with a byte order mark.
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        try:
            text = line.decode()
            if not text.strip():
                yield _bad(number, "row_empty", "the line is empty")
                continue
            row = json.loads(text)
        except UnicodeDecodeError as error:
            yield _bad(
                number, "utf8_invalid", f"byte {error.start} of the row is no UTF-8; convert the file with iconv"
            )
        except (ValueError, RecursionError) as error:
            yield _bad(number, "json_malformed", f"not JSON: {error}")
        else:
            if isinstance(row, dict):
                yield _row(number, row, names)
            else:
                yield _bad(number, "field_invalid", "an object is expected", "row")


def parquet(file: Any, names: Fields, row_groups: Sequence[int] | None = None) -> Iterator[Row]:
    """Rows of a pyarrow.parquet.ParquetFile, a thousand at a time."""
    found = file.schema_arrow.names
    _check_header(found, names)
    wanted = [name for name in names.columns() if name in found]
    number = 0
    for batch in file.iter_batches(batch_size=1000, columns=wanted, row_groups=row_groups):
        for row in batch.to_pylist():
            number += 1
            yield _row(number, row, names)


def _csv(stream: BinaryIO, path: str, names: Fields) -> Iterator[Row]:
    # The module's limit of 128 KiB a cell is less than a long article.
    csv.field_size_limit(1 << 26)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    records = csv.reader(text, strict=True)
    header = next(records, None)
    if header is None:
        raise InputRefusedError(f"{path}: there is no header")
    _check_header(header, names)
    number = 0
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield _bad(number, "csv_malformed", f"near line {records.line_num}: {error}")
            continue
        if not record:
            continue
        number += 1
        if len(record) != len(header):
            yield _bad(number, "csv_malformed", f"{len(record)} columns, the header has {len(header)}")
            continue
        if any("\0" in cell for cell in record):
            yield _bad(number, "nul_byte", "there is a NUL, which no text has: the file is damaged, or not UTF-8")
            continue
        row: dict[str, Any] = dict(zip(header, record, strict=True))
        if names.target and (targets := row.get(names.target)):
            row[names.target] = targets.split("|")
        yield _row(number, {key: None if value == "" else value for key, value in row.items()}, names)


def _row(number: int, row: dict[str, Any], names: Fields) -> Row:
    kept = {name: row.get(name) for name in names.keep}
    name = row.get(names.id)
    # Archives number their articles as often as they name them.
    if isinstance(name, int | float) and not isinstance(name, bool):
        name = None if isinstance(name, float) and math.isnan(name) else str(name)
    article: dict[str, Any] = {"id": name, "title": row.get(names.title), "text": row.get(names.text)}
    if language := row.get(names.language):
        article["language"] = language
    if names.target and (targets := row.get(names.target)):
        article["targets"] = [targets] if isinstance(targets, str) else targets
    if article["text"] is None:
        bad = _bad(number, "field_missing", f"{names.text} is missing", names.text)
        if isinstance(name, str):
            cast(ErrorRecord, bad.article)["id"] = name
        return Row(number, bad.article, kept)
    return Row(number, cast(Item, article), kept)


def _bad(number: int, code: str, message: str, param: str | None = None) -> Row:
    return Row(number, ErrorRecord(error=fault(code, message, param)))


def _check_header(found: Sequence[str], names: Fields) -> None:
    """A misspelt column is better told at once than in every row."""
    for name in (names.text, *names.keep):
        if name not in found:
            raise InputRefusedError(f"there is no column {name!r}; there are {', '.join(map(repr, found))}")


def _open(path: str) -> BinaryIO:
    if path == "-":
        return sys.stdin.buffer
    if path.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.endswith(".zst"):
        import pyarrow

        return cast(BinaryIO, io.BufferedReader(pyarrow.input_stream(path, compression="zstd")))
    return open(path, "rb")
