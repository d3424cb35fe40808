"""Other engines on the weights of a shipped bundle: exports for them, and a process that runs one of them.

    python -m tasnif_train.peers ENGINE BUNDLE EXPORTS THREADS [PROGRAM]

reads requests as JSON lines and answers each with one. Each engine has a process of its own, so that their thread pools
don't meet; a process that waits for a line takes no time.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tasnif_train import bundle
from tasnif_train.calibration import pool_stance, pool_topics
from tasnif_train.model import Batch, collate
from tasnif_train.predict import by_length, encode
from tasnif_train.sequence import Encoded, assemble, even_windows
from tasnif_train.shipped import Shipped, load_model

F32 = npt.NDArray[np.float32]
Run = Callable[[dict[str, Tensor]], tuple[F32, F32]]

INPUTS = ("ids", "mask", "text", "target")
ONNX, ONNX_INT8, OPENVINO_INT8 = "encoder.onnx", "encoder-int8.onnx", "encoder-int8.xml"
STOCK = "stock"


class Graph(nn.Module):
    """The classifier with plain inputs: ids and mask, and the weights that take the means of text and target, all
    [batch, positions]; to topic logits [batch, labels] and stance logits [batch, 4]."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.classifier = load_model(folder)
        self.classifier.trunk.to(dtype)

    def forward(self, ids: Tensor, mask: Tensor, text: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        seen = mask[:, None, None, :].bool()
        states = self.classifier.trunk(input_ids=ids, attention_mask=seen).last_hidden_state.float()
        means = torch.bmm(torch.stack([target, text], dim=1), states)
        return self.classifier.topics(means[:, 1]), self.classifier.stance(means.flatten(1))


def plain(batch: Batch) -> dict[str, Tensor]:
    """What `Graph` takes; a sequence without a target gets weights of 0."""
    width = batch.ids.shape[1]
    has_target = batch.target_weights.shape[1] > 0
    target = batch.target_weights[:, 0] if has_target else torch.zeros(len(batch.ids), width)
    return {"ids": batch.ids, "mask": batch.mask, "text": batch.text_weights, "target": target}


def export(folder: Path, out: Path) -> None:
    """Writes the bundle's weights in each engine's form to `out`, f32 except where the name says int8."""
    import onnx
    import openvino
    from nncf import CompressWeightsMode, compress_weights
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model
    from safetensors.numpy import save_file

    graph = Graph(folder).eval()
    config = graph.classifier.trunk.config
    # Shapes are dynamic; these only must not be 1.
    ids = torch.randint(5, 100, (2, 16))
    example = (ids, torch.ones_like(ids), torch.full(ids.shape, 1 / 16), torch.full(ids.shape, 1 / 16))
    torch.onnx.export(
        graph,
        example,
        str(out / ONNX),
        input_names=INPUTS,
        output_names=("topics", "stance"),
        dynamic_axes={name: {0: "batch", 1: "positions"} for name in INPUTS},
        opset_version=17,
        dynamo=False,
    )
    # ONNX Runtime joins LayerNorm, GELU and their neighbours on loading, but before quantising it must be done here.
    fused = out / "fused.onnx"
    heads, hidden = config.num_attention_heads, config.hidden_size
    optimize_model(str(out / ONNX), "bert", heads, hidden).save_model_to_file(str(fused))
    # The joined operators have no shape inference, by which types would be known.
    floats = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(fused, out / ONNX_INT8, weight_type=QuantType.QInt8, per_channel=True, extra_options=floats)
    fused.unlink()
    weights = compress_weights(openvino.Core().read_model(out / ONNX), mode=CompressWeightsMode.INT8_SYM)
    openvino.save_model(weights, out / OPENVINO_INT8, compress_to_fp16=False)
    (out / STOCK).mkdir(exist_ok=True)
    save_file(bundle.read_tensors(folder), out / STOCK / "model.safetensors")
    # With the defaults, which candle wants to be told.
    (out / STOCK / "config.json").write_text(config.to_json_string(use_diff=False), encoding="utf-8")


def torch_runs(folder: Path, dtype: torch.dtype) -> Callable[[int, int], list[Run]]:
    graph = Graph(folder, dtype).eval()

    @torch.inference_mode()
    def run(inputs: dict[str, Tensor]) -> tuple[F32, F32]:
        topics, stance = graph(*(inputs[name] for name in INPUTS))
        return topics.numpy(), stance.numpy()

    def runs(streams: int, threads: int) -> list[Run]:
        torch.set_num_threads(max(threads // streams, 1))
        return [run] * streams

    return runs


def onnx_runs(path: Path) -> Callable[[int, int], list[Run]]:
    import onnxruntime

    def runs(streams: int, threads: int) -> list[Run]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(threads // streams, 1)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(inputs: dict[str, Tensor]) -> tuple[F32, F32]:
            topics, stance = session.run(None, {name: value.numpy() for name, value in inputs.items()})
            return topics, stance

        # A session of one thread runs on its caller's, so that callers at a time are streams.
        return [run] * streams

    return runs


def openvino_runs(path: Path, precision: str) -> Callable[[int, int], list[Run]]:
    import openvino

    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnsupportedError("this CPU has no bf16 instructions")
    model = core.read_model(path)

    def runs(streams: int, threads: int) -> list[Run]:
        options = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        compiled = core.compile_model(model, "CPU", options)

        def stream() -> Run:
            request = compiled.create_infer_request()

            def run(inputs: dict[str, Tensor]) -> tuple[F32, F32]:
                result = request.infer({name: value.numpy() for name, value in inputs.items()})
                return np.array(result["topics"]), np.array(result["stance"])

            return run

        return [stream() for _ in range(streams)]

    return runs


def candle_runs(program: str, folder: Path) -> Callable[[int, int], list[Run]]:
    """benches/stock_candle.rs, whose products use all threads that rayon has."""

    def runs(streams: int, threads: int) -> list[Run]:
        if streams > 1:
            raise UnsupportedError("candle's products share one pool of threads")
        command = ["env", f"RAYON_NUM_THREADS={threads}", program, str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin
        assert process.stdout
        asked, answers = process.stdin, process.stdout

        def run(inputs: dict[str, Tensor]) -> tuple[F32, F32]:
            print(json.dumps({name: value.tolist() for name, value in inputs.items()}), file=asked, flush=True)
            answer = json.loads(answers.readline())
            return np.array(answer["topics"], np.float32), np.array(answer["stance"], np.float32)

        return [run]

    return runs


class UnsupportedError(Exception):
    """An engine that can't run here."""


def engine(name: str, folder: Path, exports: Path, program: str) -> Callable[[int, int], list[Run]]:
    """Makes of streams and threads a function a stream."""
    if name == "torch-bf16" and "avx512_bf16" not in Path("/proc/cpuinfo").read_text():
        raise UnsupportedError("this CPU has no bf16 instructions: torch would compute it in f32, with conversions")
    engines: dict[str, Callable[[], Callable[[int, int], list[Run]]]] = {
        "torch": lambda: torch_runs(folder, torch.float32),
        "torch-bf16": lambda: torch_runs(folder, torch.bfloat16),
        "onnx": lambda: onnx_runs(exports / ONNX),
        "onnx-int8": lambda: onnx_runs(exports / ONNX_INT8),
        "openvino": lambda: openvino_runs(exports / ONNX, "f32"),
        "openvino-bf16": lambda: openvino_runs(exports / ONNX, "bf16"),
        "openvino-int8": lambda: openvino_runs(exports / OPENVINO_INT8, "f32"),
        "candle": lambda: candle_runs(program, exports / STOCK),
    }
    return engines[name]()


@dataclass
class Peer:
    """The way from texts to scores that a service on top of an engine would go."""

    shipped: Shipped
    runs: list[Run]
    batch_tokens: int

    def plan(self, texts: Sequence[str], targets: Sequence[str]) -> tuple[list[Encoded], list[int]]:
        """A sequence for each window, and its article's number. With targets, one pass over the text more for each,
        as a pair: numbers from len(texts) on."""
        layout, tokenizer = self.shipped.layout, self.shipped.tokenizer
        read, asked = encode(tokenizer, texts), encode(tokenizer, targets)
        pair = replace(layout, shared=False)
        sequences: list[Encoded] = []
        owners: list[int] = []
        for number, ids in enumerate(read):
            for window in even_windows(ids, layout.room([]), layout.overlap):
                sequences.append(assemble(layout, [] if layout.shared else [[]], window))
                owners.append(number)
        for number, target in enumerate(asked):
            for window in even_windows(read[number], pair.room(target), layout.overlap):
                sequences.append(assemble(pair, [target], window))
                owners.append(len(texts) + number)
        return sequences, owners

    def read(self, sequences: Sequence[Encoded]) -> tuple[F32, F32]:
        """Logits of all sequences, batches of like length, the longest first so that streams end together."""
        free: queue.SimpleQueue[Run] = queue.SimpleQueue()
        for run in self.runs:
            free.put(run)

        def work(indices: list[int]) -> tuple[F32, F32]:
            run = free.get()
            try:
                return run(plain(collate([sequences[i] for i in indices])))
            finally:
                free.put(run)

        batches = by_length(sequences, self.batch_tokens)[::-1]
        if len(self.runs) == 1:
            results = [work(indices) for indices in batches]
        else:
            with ThreadPoolExecutor(len(self.runs)) as pool:
                results = list(pool.map(work, batches))
        order = np.argsort(np.concatenate(batches))
        topics, stance = (np.concatenate(parts)[order] for parts in zip(*results, strict=True))
        return topics, stance

    def classify(self, texts: Sequence[str], targets: Sequence[str]) -> list[list[float]]:
        """Calibrated topic scores of each text, and of each target's pair the stance."""
        sequences, owners = self.plan(texts, targets)
        topics, stance = self.read(sequences)
        own = np.array(owners)
        lengths = np.array([s.text_tokens for s in sequences])
        scores = [self.shipped.topics.apply(pool_topics(topics[own == n])).tolist() for n in range(len(texts))]
        for number in range(len(texts), len(texts) + len(targets)):
            rows = own == number
            pool_stance(stance[rows].astype(np.float64), lengths[rows], self.shipped.stance)
        return scores


def answer(peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
    """`alone`: the seconds of each text; `together`: of all; `encoder`: of encoding what was tokenized before."""
    texts, targets = request["texts"], request.get("targets", [])
    if request["what"] == "encoder":
        sequences, _ = peer.plan(texts, targets)
        begun = time.perf_counter()
        peer.read(sequences)
        return {"seconds": time.perf_counter() - begun, "positions": sum(len(s.ids) for s in sequences)}
    if request["what"] == "together":
        begun = time.perf_counter()
        scores = peer.classify(texts, targets)
        return {"seconds": time.perf_counter() - begun, "scores": scores}
    seconds = []
    for text in texts:
        begun = time.perf_counter()
        peer.classify([text], [])
        seconds.append(time.perf_counter() - begun)
    return {"seconds": seconds}


def main() -> None:
    name, folder, exports, threads, program = [*sys.argv[1:], ""][:5]
    try:
        make = engine(name, Path(folder), Path(exports), program)
        peer = Peer(Shipped.load(Path(folder)), make(1, int(threads)), 4096)
        print(json.dumps({"ready": True}), flush=True)
    except UnsupportedError as error:
        print(json.dumps({"unsupported": str(error)}), flush=True)
        return
    for line in sys.stdin:
        request = json.loads(line)
        if request["what"] == "settings":
            try:
                peer.runs = make(request["streams"], int(threads))
            except UnsupportedError as error:
                print(json.dumps({"unsupported": str(error)}), flush=True)
                continue
            peer.batch_tokens = request["batch_tokens"]
            layout = replace(peer.shipped.layout, overlap=request["overlap"])
            peer.shipped = replace(peer.shipped, layout=layout)
            print(json.dumps({}), flush=True)
        else:
            print(json.dumps(answer(peer, request)), flush=True)


if __name__ == "__main__":
    main()
