#!/usr/bin/env python3
"""Score an archive through a running tasnif: JSONL, CSV or Parquet in and out, for those who have no binary.

    scripts/score.py articles.jsonl verdicts.jsonl
    scripts/score.py --url https://tasnif.example --text-field body --keep source,date archive.parquet verdicts.parquet
    until scripts/score.py --resume articles.jsonl verdicts.jsonl; do [ $? -eq 1 ] || break; done
    zcat articles.jsonl.gz | scripts/score.py - - | jq .language

Rows keep their order; the columns of CSV and Parquet are those of `tasnif score`. A row that can't be read becomes a
record with its number and the reason. Requests that the service has no room for, or that a restart or a bad connection
cuts, are repeated. OUT.partial grows and becomes OUT at the end; --resume goes on with it after any end.

Exit status: 0 all good, 3 finished with bad rows, 2 refused before anything was done, 1 failed (--resume goes on),
130 interrupted (--resume goes on).

From Python:

    from score import TasnifClient

    with TasnifClient("http://127.0.0.1:8080") as client:
        verdict = client.classify("…", targets=["oil exports"])
        for answer in client.classify_many({"id": row.url, "text": row.body} for row in rows): ...
        frame = client.classify_series(df["text"])    # pandas or polars
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from tasnif_client import Article, AsyncTasnifClient, ErrorRecord, TasnifClient, TasnifError, Verdict
from tasnif_client.client import DEFAULT_URL, Item
from tasnif_client.output import Jsonl, Output, OutputRefusedError, Scored, encoder
from tasnif_client.rows import (
    FORMATS,
    Fields,
    InputRefusedError,
    Row,
    add_arguments,
    count,
    fields,
    format_of,
    options,
    read,
    types,
)

__all__ = ["Article", "AsyncTasnifClient", "ErrorRecord", "TasnifClient", "TasnifError", "Verdict"]

log = logging.getLogger("score")

# What a kill costs at most: an fsync takes milliseconds, and a service answers some tens to hundreds of rows a second.
CHECKPOINT_SECONDS = 1.0
CHUNK_ROWS = 5_000


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        return run(args)
    except (InputRefusedError, OutputRefusedError) as error:
        log.error("%s", error)
        return 2
    except OSError as error:
        log.error("%s", error)
        return 1
    except TasnifError as error:
        log.error("%s", error)
        return 2 if error.status in (401, 403, 404, 422) else 1
    except KeyboardInterrupt:
        log.error("interrupted; --resume goes on")
        return 130


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "input", metavar="IN", help="articles: .jsonl, .csv (also .gz, .zst) or .parquet; - for JSONL in"
    )
    parser.add_argument("output", metavar="OUT", help="verdicts: .jsonl, .csv or .parquet; - for JSONL out")
    parser.add_argument("--url", default=os.environ.get("TASNIF_URL", DEFAULT_URL), help=f"default: {DEFAULT_URL}")
    parser.add_argument("--api-key", default=os.environ.get("TASNIF_API_KEY"), help="default: TASNIF_API_KEY")
    add_arguments(parser)
    parser.add_argument("--input-format", choices=FORMATS, help="where the name doesn't tell")
    parser.add_argument("--output-format", choices=FORMATS, help="where the name doesn't tell")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="articles in a request (default: 32)")
    parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="requests at a time (default: 4)")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="of one attempt (default: 300)")
    parser.add_argument(
        "--patience", type=float, default=600, metavar="SECONDS", help="how long a request is repeated (default: 600)"
    )
    leftovers = parser.add_mutually_exclusive_group()
    leftovers.add_argument("--resume", action="store_true", help="go on with a run that was cut; else begin one")
    leftovers.add_argument("--force", action="store_true", help="begin again, and replace OUT at the end")
    args = parser.parse_args(argv)
    if args.resume and "-" in (args.input, args.output):
        parser.error("a pipe can't be gone on with: --resume needs files")
    if args.batch < 1 or args.concurrency < 1:
        parser.error("--batch and --concurrency are at least 1")
    return args


def run(args: argparse.Namespace) -> int:
    source = "jsonl" if args.input == "-" else format_of(args.input, args.input_format)
    names, asked = fields(args), options(args)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            TasnifClient(
                args.url,
                api_key=args.api_key,
                batch=args.batch,
                concurrency=args.concurrency,
                timeout=args.timeout,
                patience=args.patience,
            )
        )
        stream = read(args.input, source, names)
        # A header that lacks a column is refused before anything is written.
        first = list(itertools.islice(stream, 1))
        output: Output | Pipe = Pipe()
        if args.output != "-":
            output = stack.enter_context(contextlib.closing(_output(args, client, source, names, asked)))
        before = output.done.rows
        rows = itertools.islice(itertools.chain(first, stream), before, None)
        bar = stack.enter_context(_progress(count(args.input, source), before))
        # Closed before the client is, whatever happens, so that no request outlives it.
        scored = stack.enter_context(contextlib.closing(score(client, rows, asked)))
        chunk: list[Scored] = []
        since = time.monotonic()
        try:
            for answered in scored:
                chunk.append(answered)
                if len(chunk) == CHUNK_ROWS or time.monotonic() - since > CHECKPOINT_SECONDS:
                    _write(output, chunk, bar)
                    since = time.monotonic()
        finally:
            # What is answered need not be asked again.
            _write(output, chunk, bar)
        output.finish()
    if output.done.bad:
        log.warning("%d of %d rows are error records", output.done.bad, output.done.rows)
    return 3 if output.done.bad else 0


def score(client: TasnifClient, rows: Iterator[Row], asked: dict[str, Any]) -> Generator[Scored, None, None]:
    """Each row with its answer, in order."""
    waiting: deque[Row] = deque()

    def articles() -> Iterator[Item]:
        for row in rows:
            waiting.append(row)
            yield row.article

    for answer in client.classify_many(articles(), **asked):
        yield waiting.popleft(), answer


class Pipe:
    """Verdicts to standard output."""

    def __init__(self) -> None:
        from tasnif_client.output import Done

        self.done = Done()

    def write(self, rows: list[Scored]) -> None:
        self.done.rows += len(rows)
        self.done.bad += sum("error" in answer for _, answer in rows)
        sys.stdout.buffer.write(Jsonl().chunk(rows))
        sys.stdout.buffer.flush()

    def finish(self) -> None:
        pass


def _output(
    args: argparse.Namespace, client: TasnifClient, source: str, names: Fields, asked: dict[str, Any]
) -> Output:
    out = Path(args.output)
    kind = format_of(args.output, args.output_format)
    if args.output.endswith((".gz", ".zst")):
        raise OutputRefusedError(f"{out}: the output is written uncompressed; name it {out.with_suffix('')}")
    if args.resume and out.exists() and not out.with_name(out.name + ".journal").exists():
        raise OutputRefusedError(f"{out} is finished: nothing to go on with; --force begins again")
    model, labels = client.topics(args.model)
    kept_types = types(args.input) if source == "parquet" else {}
    fingerprint: dict[str, Any] = {"model": model, "fields": vars(names) | {"keep": list(names.keep)}, "options": asked}
    if args.input != "-":
        stat = os.stat(args.input)
        fingerprint |= {"input": os.path.abspath(args.input), "bytes": stat.st_size, "changed": stat.st_mtime_ns}
    made = encoder(kind, labels, asked, names.keep, own_targets=names.target is not None, kept_types=kept_types)
    return Output(out, made, fingerprint, resume=args.resume, force=args.force)


def _write(output: Output | Pipe, chunk: list[Scored], bar: Any) -> None:
    if chunk:
        output.write(chunk)
        bar.update(len(chunk))
        bar.set_postfix(bad=output.done.bad, refresh=False)
        chunk.clear()


def _progress(total: int | None, before: int) -> Any:
    from tqdm import tqdm

    # Without a terminal it is a line every half a minute.
    every = 0.2 if sys.stderr.isatty() else 30
    return tqdm(total=total, initial=before, unit=" articles", mininterval=every, smoothing=0.05)


if __name__ == "__main__":
    sys.exit(main())
