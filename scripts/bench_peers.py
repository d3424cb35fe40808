#!/usr/bin/env python3
"""Measure tasnif beside what else runs the same weights on this CPU, in one run, in turn, several times.

    cargo build --release --locked && cargo build --release --locked --example stock_candle
    pip install -e 'scripts[peers]'
    scripts/bench_peers.py --texts annotated.jsonl --record benches/record --document docs/performance.md

Peers: candle-transformers, PyTorch, ONNX Runtime (f32, dynamic int8) and OpenVINO (f32, bf16, int8 weights), each in a
process of its own on the bundle's dequantised weights, which this script exports. tasnif is a running service, asked
over HTTP. All read the same texts, from text to calibrated scores, in windows of as many tokens altogether; for the
encoder alone the peers are given token ids, and tasnif's own account of its inference is taken (/metrics). Peers'
batches are sorted by length, and the best of a few streams and batch sizes is searched first for each. PyTorch is not
compiled. Toward a target the peers do what is usual, a pass over the text and the target as a pair; so does tasnif
under the template `pair`, while under `shared` it reads the text once for all. Topics alone are the same work for all.

--texts are JSON lines with `lang`, `text` and perhaps `stance`: a fixed choice of short, medium and long ones in
Arabic, Russian and English is made by hash. Machines are noisy: run it on a quiet one, and trust ratios, not times.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import importlib.metadata
import itertools
import json
import logging
import os
import platform
import queue
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tasnif_train import bundle
from tasnif_train.benchmark import Figures, Text, between_markers, choose, markdown, matching_overlap, ratios
from tasnif_train.predict import encode, layout_of

log = logging.getLogger("bench_peers")

HERE = Path(__file__).resolve().parent
OURS = "tasnif"
NAMES = {
    OURS: "tasnif int8",
    "tasnif-f32": "tasnif f32 (reference path)",
    "candle": "candle-transformers f32",
    "torch": "PyTorch f32",
    "torch-bf16": "PyTorch bf16",
    "onnx": "ONNX Runtime f32",
    "onnx-int8": "ONNX Runtime dynamic int8",
    "openvino": "OpenVINO f32",
    "openvino-bf16": "OpenVINO bf16",
    "openvino-int8": "OpenVINO int8 weights",
}
REFERENCE = "torch"
BATCH_TOKENS = (512, 2048, 6144)
PACKAGES = ("torch", "transformers", "tokenizers", "onnxruntime", "openvino", "nncf")
CALLERS = 16
"""Requests under way at a time when saturated: enough that no thread of the service waits for the next one."""


class Peer:
    """An engine's process."""

    def __init__(self, name: str, args: argparse.Namespace, exports: Path) -> None:
        command = [sys.executable, "-m", "tasnif_train.peers", name, *map(str, (args.bundle, exports, args.threads))]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
        self.process = subprocess.Popen(
            [*command, str(args.candle.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
            env=environment,
        )
        self.name = name
        self.settings: dict[str, int] = {}
        ready = self._answer()
        self.unsupported: str | None = ready.get("unsupported")

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: its process ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def set(self, streams: int, batch_tokens: int, overlap: int) -> bool:
        """Whether the engine can do that."""
        self.settings = {"streams": streams, "batch_tokens": batch_tokens}
        return "unsupported" not in self.ask(what="settings", overlap=overlap, **self.settings)

    def together(self, texts: Sequence[Text], with_target: bool) -> tuple[float, list[list[float]]]:
        targets = [text.target for text in texts] if with_target else []
        answer = self.ask(what="together", texts=[text.text for text in texts], targets=targets)
        return answer["seconds"], answer["scores"]

    def encoder(self, texts: Sequence[Text]) -> float:
        answer = self.ask(what="encoder", texts=[text.text for text in texts])
        return float(answer["positions"] / answer["seconds"])

    def alone(self, texts: Sequence[Text]) -> list[float]:
        return list(self.ask(what="alone", texts=[text.text for text in texts])["seconds"])

    def close(self) -> None:
        # Nothing is left to be done there, and the engines take their time to unload.
        self.process.kill()
        self.process.wait()


class Service:
    """A running tasnif."""

    def __init__(self, args: argparse.Namespace, labels: Sequence[str], precision: str) -> None:
        command = [str(args.tasnif), "serve", "--model", str(args.bundle.resolve()), "--port", "0"]
        # What is measured again must be read again.
        command += ["--precision", precision, "--threads", str(args.threads)]
        environment = os.environ | {"TASNIF_CACHE_MB": "0", "TASNIF_LOG": "info"}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.threads, self.labels = args.threads, labels
        self.settings = {"threads": args.threads, "callers": CALLERS}
        self.unsupported: str | None = None
        said = ""
        assert self.process.stderr
        for line in self.process.stderr:
            said += line
            if found := re.search(r"ready: POST http://([0-9.]+:\d+)", line):
                self.address = found[1]
                break
        else:
            raise SystemExit(f"{' '.join(command)}:\n{said}")
        # A pipe that nobody reads would stop the service when it is full.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def _classify(self, connection: http.client.HTTPConnection, text: Text, with_target: bool) -> dict[str, Any]:
        asked = {"targets": [text.target]} if with_target else {"tasks": ["topics"]}
        body = json.dumps({"text": text.text, **asked}).encode()
        connection.request("POST", "/v1/classify", body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status != 200:
            raise SystemExit(f"tasnif answered {response.status}: {answer}")
        return answer

    def metrics(self) -> dict[str, float]:
        connection = http.client.HTTPConnection(self.address)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        names = ("tasnif_inference_seconds_sum", "tasnif_batch_tokens_sum")
        return {name: float(value) for name, _, value in (line.partition(" ") for line in lines) if name in names}

    def together(self, texts: Sequence[Text], with_target: bool) -> tuple[float, list[list[float]]]:
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(texts)):
            todo.put(number)
        answers: dict[int, dict[str, Any]] = {}

        def call() -> None:
            connection = http.client.HTTPConnection(self.address)
            while True:
                try:
                    number = todo.get_nowait()
                except queue.Empty:
                    return
                answers[number] = self._classify(connection, texts[number], with_target)

        callers = [threading.Thread(target=call) for _ in range(CALLERS)]
        begun = time.perf_counter()
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        seconds = time.perf_counter() - begun
        scores = [{t["label"]: t["score"] for t in answers[number]["topics"]} for number in range(len(texts))]
        return seconds, [[found[label] for label in self.labels] for found in scores]

    def inference(self, texts: Sequence[Text]) -> tuple[float, float]:
        """Positions, and the seconds that each of the service's threads took to encode them."""
        before = self.metrics()
        self.together(texts, False)
        after = self.metrics()
        seconds, positions = (after[name] - before[name] for name in sorted(after, reverse=True))
        return positions, seconds / self.threads

    def encoder(self, texts: Sequence[Text]) -> float:
        positions, seconds = self.inference(texts)
        return positions / seconds

    def alone(self, texts: Sequence[Text]) -> list[float]:
        connection = http.client.HTTPConnection(self.address)
        seconds = []
        for text in texts:
            begun = time.perf_counter()
            self._classify(connection, text, False)
            seconds.append(time.perf_counter() - begun)
        return seconds

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def search(peer: Peer, texts: Sequence[Text], threads: int, overlap: int) -> None:
    """Leaves the peer with the settings that read all texts together fastest, and warm."""
    best: tuple[float, int, int] | None = None
    for streams, batch_tokens in itertools.product(sorted({1, threads}), BATCH_TOKENS):
        if not peer.set(streams, batch_tokens, overlap):
            continue
        peer.encoder(texts)
        rate = peer.encoder(texts)
        best = max(best or (rate, streams, batch_tokens), (rate, streams, batch_tokens))
    assert best
    peer.set(best[1], best[2], overlap)


def measure(engines: Mapping[str, Peer | Service], texts: Sequence[Text], rounds: int) -> dict[str, Figures]:
    """Every engine once for every figure, round after round, each round in another order."""
    figures = {name: Figures() for name in engines}
    order = list(engines)
    scores: dict[str, list[list[float]]] = {}
    for number in range(rounds):
        # One article is read by all threads together, whatever is best for many.
        for name in order:
            peer = engines[name]
            seconds = peer.alone(texts)
            for length, times in figures[name].alone.items():
                own = [s for s, text in zip(seconds, texts, strict=True) if text.length == length]
                times.append(1e3 * statistics.median(own))
        for with_target in (False, True):
            for name in order:
                taken, found = engines[name].together(texts, with_target)
                (figures[name].target if with_target else figures[name].topics).append(len(texts) / taken)
                scores.setdefault(name, found)
        for name in order:
            figures[name].encoder.append(engines[name].encoder(texts))
        log.info("round %d of %d", number + 1, rounds)
        order = [*order[1:], order[0]]
    flat = {name: [score for row in rows for score in row] for name, rows in scores.items()}
    if REFERENCE in flat:
        for name, values in flat.items():
            differences = (abs(a - b) for a, b in zip(values, flat[REFERENCE], strict=True))
            figures[name].difference = statistics.fmean(differences)
    return figures


def cpu() -> tuple[str, str]:
    """The processor's name, and the widest of the instruction sets that matter here."""
    said = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.+)", said)
    flags = set(said.split())
    known = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp")
    return name[1] if name else platform.processor(), next((flag for flag in known if flag in flags), "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, nargs="+", default=[HERE / "data/written.jsonl"], help="JSON lines")
    parser.add_argument("--bundle", type=Path, default=HERE.parent / "models/default")
    parser.add_argument("--tasnif", type=Path, default=HERE.parent / "target/release/tasnif", help="the program")
    parser.add_argument("--candle", type=Path, default=HERE.parent / "target/release/examples/stock_candle")
    parser.add_argument("--engines", default=",".join(NAMES), help="some of: %(default)s")
    parser.add_argument("--per-class", type=int, default=2, help="texts of each language and length")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--exports", type=Path, help="keep the exported models here, for the next run")
    parser.add_argument("--record", type=Path, help="write RECORD/CPU/DATE-peers.json")
    parser.add_argument("--cpu", help="the folder's name [default: the processor's name and instruction set]")
    parser.add_argument("--document", type=Path, help="write the table here, between its markers")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = args.engines.split(",")
    if OURS not in names or not set(names) <= set(NAMES):
        parser.error(f"--engines: {OURS} and any of {', '.join(NAMES)}")

    lines = (line for path in args.texts for line in path.read_text(encoding="utf-8").splitlines())
    texts = choose(map(json.loads, lines), args.per_class)
    manifest = bundle.read_manifest(args.bundle)
    labels = [label.id for label in manifest.labels]
    with ExitStack() as stack:
        exports = args.exports or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        exports.mkdir(parents=True, exist_ok=True)
        if set(names) - {OURS, "tasnif-f32", "torch", "torch-bf16"} and not (exports / "done").exists():
            log.info("exporting the weights for the peers")
            # In a process that ends: its memory is gigabytes.
            code = "import sys, pathlib; from tasnif_train import peers; peers.export(*map(pathlib.Path, sys.argv[1:]))"
            command = [sys.executable, "-W", "ignore", "-c", code, str(args.bundle.resolve()), str(exports.resolve())]
            subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.DEVNULL)
            (exports / "done").touch()

        args.bundle, exports = args.bundle.resolve(), exports.resolve()
        engines: dict[str, Peer | Service] = {}
        skipped: dict[str, str] = {}
        for name in names:
            started = (
                Service(args, labels, "f32" if name == "tasnif-f32" else "int8")
                if name.startswith("tasnif")
                else Peer(name, args, exports)
            )
            stack.callback(started.close)
            if started.unsupported:
                skipped[name] = started.unsupported
                log.info("%s: left out, %s", NAMES[name], started.unsupported)
            else:
                engines[name] = started

        ours = engines[OURS]
        assert isinstance(ours, Service)
        positions, _ = ours.inference(texts)
        tokenizer = Tokenizer.from_file(str(args.bundle / "tokenizer.json"))
        layout = layout_of(tokenizer, manifest.sequence)
        overlap = matching_overlap(encode(tokenizer, [text.text for text in texts]), layout, round(positions))
        for name, engine in engines.items():
            if isinstance(engine, Peer):
                search(engine, texts[::2], args.threads, overlap)
                log.info("%s: %s", NAMES[name], engine.settings)
            else:
                engine.together(texts, True)
        figures = measure(engines, texts, args.rounds)

    table = markdown(figures, NAMES, OURS)
    model, instructions = cpu()
    print(table)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    template = manifest.sequence.template
    title = (
        f"{today}, {args.threads} threads of {model} ({instructions}); model {manifest.name} {manifest.version}, "
        f"template `{template}`; {len(texts)} articles, {round(positions):,} tokens; medians of {args.rounds} rounds. "
        "In parentheses: how many times as fast tasnif is. Δ score: of topics, to PyTorch f32, mean; tasnif's includes "
        "that it cuts windows between sentences, the others evenly."
    )
    for name, reason in skipped.items():
        title += f" Left out: {NAMES[name]} ({reason})."
    if args.document:
        document = args.document.read_text(encoding="utf-8")
        args.document.write_text(between_markers(document, f"{title}\n\n{table}"), encoding="utf-8")
    if args.record:
        slug = args.cpu or re.sub(r"[^a-z0-9]+", "-", f"{model} {instructions}".lower()).strip("-")
        path = args.record / slug / f"{today}-peers.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "date": today,
            "cpu": model,
            "instructions": instructions,
            "threads": args.threads,
            "model": f"{manifest.name} {manifest.version}",
            "template": template,
            "articles": len(texts),
            "joined": sum(text.joined for text in texts),
            "tokens": round(positions),
            "peers_overlap": overlap,
            "packages": {d.name: d.version for d in importlib.metadata.distributions() if d.name in PACKAGES},
            "skipped": skipped,
            "engines": {
                name: {"settings": engines[name].settings, **vars(own), "medians": own.medians()}
                | {"ratios": ratios(figures[OURS], own)}
                for name, own in figures.items()
            },
        }
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        log.info("wrote %s", path)


if __name__ == "__main__":
    main()
