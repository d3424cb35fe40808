"""GGML's Q4_0: blocks of 32 weights, an f16 scale `d` and 16 bytes of nibbles; weight = (nibble - 8) * d.

Byte j of a block holds weight j in its low nibble and weight j + 16 in its high one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 32
BLOCK_BYTES = 18

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


def unpack(raw: U8, columns: int) -> F32:
    """Dequantise blocks of bytes into a matrix of `columns` columns."""
    blocks = np.ascontiguousarray(raw, dtype=np.uint8).reshape(-1, BLOCK_BYTES)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 0x0F, blocks[:, 2:] >> 4], axis=1)
    values = (nibbles.astype(np.float32) - 8.0) * scale
    return values.reshape(-1, columns)


def pack(weights: F32) -> U8:
    """Quantise a matrix row by row into [rows, columns / 32 * 18] bytes.

    As in GGML the scale comes from the value of largest magnitude, divided by -8: the one code without a
    positive twin (-8) then lands on that value, and it is met exactly.
    """
    rows, columns = weights.shape
    if columns % BLOCK:
        raise ValueError(f"{columns} columns are no multiple of {BLOCK}")
    blocks = np.ascontiguousarray(weights, dtype=np.float32).reshape(-1, BLOCK)
    extreme = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(axis=1)]
    scale = (extreme / -8.0).astype("<f2")
    wide = scale.astype(np.float32)
    inverse = np.divide(1.0, wide, out=np.zeros_like(wide), where=wide != 0)
    codes = np.clip(np.floor(blocks * inverse[:, None] + 8.5), 0, 15).astype(np.uint8)
    half = BLOCK // 2
    body = codes[:, :half] | (codes[:, half:] << 4)
    packed = np.concatenate([scale.view(np.uint8).reshape(-1, 2), body], axis=1)
    return packed.reshape(rows, columns // BLOCK * BLOCK_BYTES)
