#!/usr/bin/env python3
"""Score an archive on a Ray cluster: Parquet or JSONL from a folder or an object store, each article exactly once.

    scripts/score_ray.py --tasnif target/release/tasnif --models models s3://bucket/articles s3://bucket/verdicts
    scripts/score_ray.py --service http://tasnif.example articles/ verdicts/
    ray job submit --address http://head:8265 -- python score_ray.py …

The input is cut into shards, by row groups or byte ranges, always the same ones: verdicts/FILE/START-END.parquet
answers rows START to END of FILE (of JSONL: the lines that begin in these bytes). A shard's file appears whole or not
at all, so what is there is done: the same command run again does the rest, and a shard that was lost with its node is
done by another. Ray Data schedules the shards over a pool of actors, each with a tasnif process of its own beside it
(--tasnif), or all with one service (--service).

Both folders must be seen by all nodes. Exit status as of score.py; 1 means that the same command goes on.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow.fs
import pyarrow.parquet
import ray
from ray.data import ActorPoolStrategy, DataContext
from tqdm import tqdm

from score import TasnifClient, TasnifError, score
from tasnif_client.output import Jsonl, OutputRefusedError, Parquet, encoder
from tasnif_client.rows import (
    Fields,
    InputRefusedError,
    Row,
    add_arguments,
    fields,
    format_of,
    jsonl,
    options,
    parquet,
)

log = logging.getLogger("score_ray")

# In a row, before the job is given up.
FRUITLESS_ROUNDS = 5
# After which an actor ends. Ray Data keeps those that outlive a round that failed, and with them the processors that
# the next round needs.
IDLE_SECONDS = 15.0


@dataclass(frozen=True)
class Shard:
    """A piece of a file: rows of whole row groups, or the lines that begin in a range of bytes."""

    file: str
    start: int
    end: int
    row_groups: tuple[int, ...] = ()

    def name(self, kind: str) -> str:
        return f"{self.file}/{self.start:012}-{self.end:012}.{kind}"


@dataclass(frozen=True)
class Job:
    """All that an actor needs to know; it travels to the nodes."""

    input: str
    output: str
    output_format: str
    fields: Fields
    options: dict[str, Any]
    service: str | None
    tasnif: str | None
    models: str
    threads: int
    api_key: str | None = None


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    job = Job(
        args.input,
        args.output,
        args.output_format,
        fields(args),
        options(args),
        args.service,
        args.tasnif and str(Path(args.tasnif).resolve()),
        str(Path(args.models).resolve()),
        args.threads,
        args.api_key,
    )
    try:
        return run(job, args.shard_rows, args.shard_bytes, args.actors)
    except (InputRefusedError, OutputRefusedError) as error:
        log.error("%s", error)
        return 2
    except KeyboardInterrupt:
        log.error("interrupted; the same command goes on")
        return 130


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="IN", help="a file or folder of .jsonl or .parquet, or a URI: s3://, gs://, …")
    parser.add_argument("output", metavar="OUT", help="a folder, or a URI")
    engine = parser.add_mutually_exclusive_group(required=True)
    engine.add_argument("--tasnif", metavar="PROGRAM", help="each actor runs this program, there on every node")
    engine.add_argument("--service", metavar="URL", help="a service that all actors share")
    parser.add_argument("--models", default="models", metavar="DIR", help="of --tasnif, there on every node")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="processors of an actor (default: 1)")
    parser.add_argument("--actors", type=int, metavar="N", help="the most of them (default: all processors' worth)")
    parser.add_argument("--api-key", default=os.environ.get("TASNIF_API_KEY"), help="default: TASNIF_API_KEY")
    add_arguments(parser)
    parser.add_argument("--output-format", choices=("parquet", "jsonl"), default="parquet")
    parser.add_argument("--shard-rows", type=int, default=5_000, metavar="N", help="of Parquet, in whole row groups")
    parser.add_argument("--shard-bytes", type=int, default=8 << 20, metavar="BYTES", help="of JSONL")
    return parser.parse_args(argv)


def run(job: Job, shard_rows: int, shard_bytes: int, actors: int | None) -> int:
    files = list(input_files(job.input))
    shards = [shard for file in files for shard in cut(job.input, *file, shard_rows, shard_bytes)]
    names = {shard.name(job.output_format): shard for shard in shards}
    agree(job, files, list(names))
    left = {name: shard for name, shard in names.items() if name not in finished(job.output)}
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    DataContext.get_current().enable_progress_bars = False
    rows = bad = fruitless = 0
    with tqdm(total=len(shards), initial=len(shards) - len(left), unit=" shards") as bar:
        while left:
            before = len(left)
            most = actors or max(1, int(ray.cluster_resources().get("CPU", 1)) // job.threads)
            try:
                for result in scored(job, list(left.values()), min(most, before)):
                    if result["error"]:
                        raise InputRefusedError(f"{result['shard']}: {result['error']}")
                    del left[result["shard"]]
                    rows, bad = rows + result["rows"], bad + result["bad"]
                    bar.update()
                    bar.set_postfix(articles=rows, bad=bad)
            except ray.exceptions.RayError as error:
                # With a node go its shards, and Ray Data ends. What is not yet there is done in the next round by the
                # nodes that are left: an actor that Ray restarts would wait for the room that the dead node had.
                log.warning("%s; going on with what is left", str(error).splitlines()[0])
            for name in finished(job.output) & set(left):
                del left[name]
                bar.update()
            fruitless = fruitless + 1 if len(left) == before else 0
            if fruitless == FRUITLESS_ROUNDS:
                log.error("%d shards can't be done: see Ray's log; the same command goes on", before)
                return 1
            # Ray needs half a minute to notice that a node is gone, and gives it actors until then.
            time.sleep(10 * fruitless)
    return 3 if bad else 0


def scored(job: Job, shards: list[Shard], actors: int) -> Iterator[dict[str, Any]]:
    """A record a shard, as they are done."""
    # One shard a block: the unit that is scheduled, and lost.
    data = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards))
    results = data.map(
        Scorer,
        fn_constructor_args=(job,),
        compute=ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
        num_cpus=job.threads,
        max_restarts=0,
        max_task_retries=0,
    )
    yield from results.iter_rows()


class Scorer:
    """An actor: scores a shard at a time, with an engine beside it or a service elsewhere."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.engine = Engine(job) if job.tasnif else None
        url = self.engine.url if self.engine else cast(str, job.service)
        # A local process needs no more under way than keeps its threads busy.
        self.client = TasnifClient(url, api_key=job.api_key, concurrency=2 * max(1, job.threads), patience=120)
        _, self.labels = self.client.topics(job.options.get("model"))
        self._rest()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        self.idle.cancel()
        try:
            return self.score(item)
        finally:
            self._rest()

    def _rest(self) -> None:
        self.idle = threading.Timer(IDLE_SECONDS, os._exit, (0,))
        self.idle.daemon = True
        self.idle.start()

    def score(self, item: dict[str, Any]) -> dict[str, Any]:
        shard = Shard(**item | {"row_groups": tuple(item["row_groups"])})
        name = shard.name(self.job.output_format)
        try:
            answered = list(score(self.client, shard_rows(self.job, shard), self.job.options))
        except (InputRefusedError, TasnifError) as error:
            if self.engine and self.engine.ended():
                # The next round does the shard, with a process that lives.
                os._exit(1)
            return {"shard": name, "rows": 0, "bad": 0, "error": str(error)}
        write(self.job, name, answered, self.labels, shard)
        bad = sum("error" in answer for _, answer in answered)
        return {"shard": name, "rows": len(answered), "bad": bad, "error": ""}


class Engine:
    """A tasnif process that ends with this one, however that ends."""

    def __init__(self, job: Job) -> None:
        command = [cast(str, job.tasnif), "serve", "--port", "0", "--threads", str(job.threads), "--models", job.models]
        if model := job.options.get("model"):
            command += ["--model", model]
        with tempfile.NamedTemporaryFile("r", suffix=".tasnif.log") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr.fileno(), preexec_fn=_end_with_parent)
            until = time.monotonic() + 60
            # It listens before it has loaded; the client waits for the rest.
            while not (found := re.search(r"http://[\d.]+:\d+", log := Path(stderr.name).read_text())):
                if self.ended() or time.monotonic() > until:
                    raise RuntimeError(f"{' '.join(command)} doesn't serve: {log[-2000:]}")
                time.sleep(0.05)
        self.url = found[0]

    def ended(self) -> bool:
        return self.process.poll() is not None


def _end_with_parent() -> None:
    """Linux tells the child when its parent dies (prctl(2), PR_SET_PDEATHSIG = 1), which a killed actor can't."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def input_files(uri: str) -> Iterator[tuple[str, int]]:
    """Paths relative to the input, and sizes, in order."""
    fs, root = _place(uri)
    (info,) = fs.get_file_info([root])
    if info.type == pyarrow.fs.FileType.NotFound:
        raise InputRefusedError(f"{uri}: there is no such file or folder")
    if info.type == pyarrow.fs.FileType.File:
        yield "", info.size
        return
    found = fs.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    files = [(info.path, info.size) for info in found if info.path.endswith((".jsonl", ".parquet"))]
    if not files:
        raise InputRefusedError(f"{uri}: there is no .jsonl or .parquet file in it")
    for path, size in sorted(files):
        yield path[len(root) :].strip("/"), size


def cut(uri: str, file: str, size: int, rows: int, bytes: int) -> Iterator[Shard]:
    """A file's shards."""
    fs, root = _place(uri)
    path = f"{root}/{file}".rstrip("/")
    file = file or Path(root).name
    if format_of(path) == "jsonl":
        for start in range(0, size, bytes):
            yield Shard(file, start, min(start + bytes, size))
        return
    metadata = pyarrow.parquet.read_metadata(path, filesystem=fs)
    groups: list[int] = []
    start = end = 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        end += metadata.row_group(group).num_rows
        if end - start >= rows or (group == metadata.num_row_groups - 1 and end > start):
            yield Shard(file, start, end, tuple(groups))
            start, groups = end, []


def shard_rows(job: Job, shard: Shard) -> Iterator[Row]:
    """Rows of Parquet are counted in the file, lines of JSONL in the shard."""
    fs, root = _place(job.input)
    path = root if fs.get_file_info([root])[0].type == pyarrow.fs.FileType.File else f"{root}/{shard.file}"
    with fs.open_input_file(path) as file:
        if shard.row_groups:
            whole = pyarrow.parquet.ParquetFile(file)
            for row in parquet(whole, job.fields, list(shard.row_groups)):
                yield replace(row, number=shard.start + row.number)
        else:
            yield from jsonl(lines(file, shard.start, shard.end), job.fields)


def lines(file: Any, start: int, end: int) -> Iterable[bytes]:
    """The lines that begin in these bytes: the neighbour before reads its last line to its end."""
    stream = io.BufferedReader(file, 1 << 20)
    stream.seek(max(0, start - 1))
    if start:
        stream.readline()
    while stream.tell() < end and (line := stream.readline()):
        yield line


def write(job: Job, name: str, answered: list[Any], labels: list[str], shard: Shard) -> None:
    """The shard's verdicts, whole or not at all: renamed into place, or an object that a store shows once done."""
    fs, root = _place(job.output)
    path = f"{root}/{name}"
    local = isinstance(fs, pyarrow.fs.LocalFileSystem)
    there = f"{path}.{uuid.uuid4().hex}.tmp" if local else path
    if local:
        fs.create_dir(str(Path(path).parent), recursive=True)
    with fs.open_output_stream(there) as stream:
        made = encoder(
            job.output_format,
            labels,
            job.options,
            job.fields.keep,
            own_targets=job.fields.target is not None,
            kept_types=kept_types(job, shard),
        )
        if isinstance(made, Parquet):
            pyarrow.parquet.write_table(made.table(answered), stream, compression="zstd")
        else:
            stream.write(cast(Jsonl, made).chunk(answered))
    if local:
        fs.move(there, path)


def kept_types(job: Job, shard: Shard) -> dict[str, Any]:
    if not shard.row_groups or not job.fields.keep:
        return {}
    fs, root = _place(job.input)
    path = root if fs.get_file_info([root])[0].type == pyarrow.fs.FileType.File else f"{root}/{shard.file}"
    return {field.name: field.type for field in pyarrow.parquet.read_schema(path, filesystem=fs)}


def agree(job: Job, files: list[tuple[str, int]], names: list[str]) -> None:
    """Leaves the plan in the output, or refuses one that was made for something else: its shards would be others."""
    fs, root = _place(job.output)
    plan = {
        "files": [list(file) for file in files],
        "shards": names,
        "options": job.options,
        "fields": asdict(job.fields),
    }
    text = json.dumps(plan, indent=1)
    if isinstance(fs, pyarrow.fs.LocalFileSystem):
        fs.create_dir(root, recursive=True)
    path = f"{root}/_plan.json"
    if fs.get_file_info([path])[0].type == pyarrow.fs.FileType.NotFound:
        with fs.open_output_stream(path) as stream:
            stream.write(text.encode())
        return
    with fs.open_input_stream(path) as stream:
        if stream.read().decode() != text:
            raise OutputRefusedError(
                f"{job.output} was begun for another input or with other options; choose another folder"
            )


def finished(uri: str) -> set[str]:
    """Names of the shards that are there."""
    fs, root = _place(uri)
    found = fs.get_file_info(pyarrow.fs.FileSelector(root, recursive=True, allow_not_found=True))
    return {info.path[len(root) :].strip("/") for info in found if info.is_file}


def _place(uri: str) -> tuple[Any, str]:
    """A file system, and the path in it."""
    if "://" in uri:
        fs, path = pyarrow.fs.FileSystem.from_uri(uri)
        return fs, path.rstrip("/")
    return pyarrow.fs.LocalFileSystem(), str(Path(uri).resolve())


if __name__ == "__main__":
    sys.exit(main())
