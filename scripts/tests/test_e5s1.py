import struct
from pathlib import Path

import numpy as np
import pytest

from tasnif_train import e5s1, q4


def written(path: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A file of one layer, hidden 32, intermediate 64, four pieces."""
    hidden, intermediate, rows = 32, 64, 6
    shapes = {"emb.word": (rows, hidden), "emb.pos": (8, hidden), "l0.q.w": (hidden, hidden)}
    shapes |= {"l0.fo.w": (hidden, intermediate), "l0.q.b": (hidden,), "emb.ln.w": (hidden,)}
    tensors, bodies = {}, []
    for name, shape in shapes.items():
        value = rng.standard_normal(shape).astype(np.float32)
        packed = name.endswith((".w", ".word")) and len(shape) == 2
        raw = q4.pack(value).tobytes() if packed else value.astype("<f4").tobytes()
        tensors[name] = q4.unpack(np.frombuffer(raw, np.uint8), shape[1]) if packed else value
        bodies.append((name.encode(), int(packed), value.size, raw))
    pieces = [b"<s>", b"<pad>", b"</s>", b"<unk>"]
    head = b"E5S1" + struct.pack("<I7ifi", 1, hidden, 1, 4, intermediate, rows, 8, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, pieces)))
    head += struct.pack("<5I", *np.cumsum([0, *map(len, pieces)])) + struct.pack("<4f", 0, 0, 0, -1.5)
    head += b"".join(pieces) + struct.pack("<iI", 1, 3) + b"xyz" + struct.pack("<i", len(bodies))
    at = len(head) + sum(2 + len(name) + 21 for name, *_ in bodies)
    table = b""
    for name, kind, elements, raw in bodies:
        table += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", kind, elements, at, len(raw))
        at += len(raw)
    path.write_bytes(head + table + b"".join(raw for *_, raw in bodies))
    return tensors


def test_a_written_file_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    tensors = written(path, np.random.default_rng(0))
    base = e5s1.read(path)
    assert base.shape.layers == 1
    assert base.pieces[3] == ("<unk>", -1.5)
    assert base.word_q4.shape == (6, 18)
    for name, value in tensors.items():
        assert np.array_equal(base.tensors[e5s1.hugging_face_name(name)], value), name


def test_names_are_hugging_faces() -> None:
    assert e5s1.hugging_face_name("l11.ao.b") == "encoder.layer.11.attention.output.dense.bias"
    assert e5s1.hugging_face_name("emb.ln.b") == "embeddings.LayerNorm.bias"


def test_another_magic_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match="E5S1"):
        e5s1.read(tmp_path / "x.bin")
