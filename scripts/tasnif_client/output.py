"""Verdicts to JSONL, CSV or Parquet, so that a run can be cut at any moment and go on.

Rows go to OUT.partial, a chunk at a time. Behind each chunk the file is flushed to the disk, and then OUT.journal is
replaced by one that counts it. A run that goes on cuts the file to what the journal counts and reads on behind the rows
that it counts: nothing is lost, doubled or half-written. At the end OUT.partial becomes OUT; the journal goes last.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from . import frame
from .rows import Row
from .types import Answer

Scored = tuple[Row, Answer]


class OutputRefusedError(Exception):
    """What is there stands in the way; the message tells what to do."""


class Encoder(Protocol):
    """Chunks that can be written one after another."""

    def head(self) -> bytes: ...
    def chunk(self, rows: Sequence[Scored]) -> bytes: ...
    def finish(self, partial: Path) -> None:
        """Makes of all chunks what the format wants."""


class Jsonl:
    """The verdict as the service gave it, a line a row."""

    def head(self) -> bytes:
        return b""

    def chunk(self, rows: Sequence[Scored]) -> bytes:
        return "".join(
            json.dumps(_line(row, answer), ensure_ascii=False, separators=(",", ":"), default=str) + "\n"
            for row, answer in rows
        ).encode(errors="backslashreplace")

    def finish(self, partial: Path) -> None:
        pass


def _line(row: Row, answer: Answer) -> dict[str, Any]:
    number = {"row": row.number} if "error" in answer else {}
    kept = {"kept": row.kept} if row.kept else {}
    return number | cast(dict[str, Any], answer) | kept


class Table:
    """The columns of a table, and a row's cells in their order."""

    def __init__(self, kinds: Mapping[str, frame.Kind], keep: Sequence[str]) -> None:
        self.kinds: dict[str, frame.Kind] = {"row": "integer", **kinds}
        self.kept = {(f"kept_{name}" if name in self.kinds else name): name for name in keep}

    def header(self) -> list[str]:
        return [*self.kinds, *self.kept]

    def cells(self, scored: Scored) -> list[Any]:
        row, answer = scored
        found = frame.cells(answer) | {"row": row.number}
        return [*(found.get(name) for name in self.kinds), *(row.kept.get(name) for name in self.kept.values())]


class Csv(Table):
    """RFC 4180, with LF."""

    def head(self) -> bytes:
        return self._write([self.header()])

    def chunk(self, rows: Sequence[Scored]) -> bytes:
        return self._write([self.cells(row) for row in rows])

    def finish(self, partial: Path) -> None:
        pass

    @staticmethod
    def _write(rows: Sequence[Sequence[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode(errors="backslashreplace")


class Parquet(Table):
    """Each chunk is an Arrow stream of its own until the end, since nothing can be appended to a Parquet file."""

    def __init__(self, kinds: Mapping[str, frame.Kind], keep: Sequence[str], kept_types: Mapping[str, Any]) -> None:
        super().__init__(kinds, keep)
        import pyarrow

        self.pa = pyarrow
        known = {"text": pyarrow.string(), "float": pyarrow.float32(), "integer": pyarrow.int64()}
        own = [(name, known[kind]) for name, kind in self.kinds.items()]
        # Of a file without types, what is kept is text.
        kept = [(name, kept_types.get(source, pyarrow.string())) for name, source in self.kept.items()]
        self.schema = pyarrow.schema(own + kept)

    def head(self) -> bytes:
        return self.chunk([])

    def table(self, rows: Sequence[Scored]) -> Any:
        """A pyarrow.Table."""
        made = [self.cells(row) for row in rows]
        arrays = []
        for place, field in enumerate(self.schema):
            cells = [row[place] for row in made]
            arrays.append(self.pa.array(map(_text, cells) if field.type == self.pa.string() else cells, field.type))
        return self.pa.Table.from_arrays(arrays, schema=self.schema)

    def chunk(self, rows: Sequence[Scored]) -> bytes:
        sink = io.BytesIO()
        with self.pa.ipc.new_stream(sink, self.schema) as stream:
            stream.write_table(self.table(rows))
        return sink.getvalue()

    def finish(self, partial: Path) -> None:
        from pyarrow import parquet

        whole = partial.with_name(partial.name + ".parquet")
        # Small chunks are gathered into row groups of a sensible size.
        waiting: list[Any] = []
        with parquet.ParquetWriter(whole, self.schema, compression="zstd") as writer, partial.open("rb") as source:

            def flush() -> None:
                writer.write_table(self.pa.Table.from_batches(waiting, self.schema).combine_chunks())
                waiting.clear()

            size = partial.stat().st_size
            while source.tell() < size:
                waiting += self.pa.ipc.open_stream(source)
                if sum(batch.num_rows for batch in waiting) >= 50_000:
                    flush()
            flush()
        _sync(whole)
        whole.replace(partial)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


@dataclass
class Done:
    """How far a run has come."""

    rows: int = 0
    bad: int = 0
    bytes: int = 0


class Output:
    """An output that is being written."""

    def __init__(
        self, out: Path, encoder: Encoder, fingerprint: Mapping[str, Any], *, resume: bool = False, force: bool = False
    ) -> None:
        self.out, self.encoder, self.fingerprint = out, encoder, dict(fingerprint)
        self.partial, self.journal = (out.with_name(f"{out.name}.{end}") for end in ("partial", "journal"))
        self.done = Done()
        if not force:
            self._check(resume)
        self._file = self.partial.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputRefusedError(f"{self.partial}: another run is writing it") from None
        if force or self.done.bytes == 0:
            self.done = Done()
            self._file.truncate(0)
            self._append(encoder.head())
        elif self.partial.stat().st_size < self.done.bytes:
            raise OutputRefusedError(f"{self.partial} is shorter than {self.journal} says; begin again with --force")
        else:
            self._file.truncate(self.done.bytes)

    def _check(self, resume: bool) -> None:
        if self.journal.exists():
            if not resume:
                raise OutputRefusedError(
                    f"{self.partial}: a run was cut; --resume goes on with it, --force begins again"
                )
            journal = json.loads(self.journal.read_text())
            for name, now in self.fingerprint.items():
                if (then := journal["fingerprint"].get(name)) != now:
                    raise OutputRefusedError(
                        f"{name} was {then!r} and is {now!r} now: the rows would not match; begin again with --force"
                    )
            self.done = Done(**journal["done"])
        elif self.out.exists():
            raise OutputRefusedError(f"{self.out} is there already; --force replaces it")

    def write(self, rows: Sequence[Scored]) -> None:
        """Appends rows; when this returns they are on the disk."""
        self.done.rows += len(rows)
        self.done.bad += sum("error" in answer for _, answer in rows)
        self._append(self.encoder.chunk(rows))

    def _append(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done.bytes = self._file.tell()
        temporary = self.journal.with_name(self.journal.name + ".new")
        temporary.write_text(json.dumps({"fingerprint": self.fingerprint, "done": vars(self.done)}))
        _sync(temporary)
        temporary.replace(self.journal)
        _sync(self.journal.parent)

    def close(self) -> None:
        """Lets another run go on."""
        self._file.close()

    def finish(self) -> None:
        self.close()
        self.encoder.finish(self.partial)
        self.partial.replace(self.out)
        self.journal.unlink()
        _sync(self.out.parent)


def encoder(
    kind: str,
    labels: Sequence[str],
    options: Mapping[str, Any],
    keep: Sequence[str],
    *,
    own_targets: bool,
    kept_types: Mapping[str, Any],
) -> Encoder:
    if kind == "jsonl":
        return Jsonl()
    kinds = frame.columns(labels, options, own_targets)
    return Csv(kinds, keep) if kind == "csv" else Parquet(kinds, keep, kept_types)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
