import numpy as np
import pytest

from tasnif_train import q4


def test_a_known_block_unpacks_low_nibbles_first() -> None:
    scale = np.array([0.5], dtype="<f2").view(np.uint8)
    nibbles = np.full(16, 0x8F, dtype=np.uint8)
    values = q4.unpack(np.concatenate([scale, nibbles]), 32)
    assert values[0, :16].tolist() == [3.5] * 16
    assert values[0, 16:].tolist() == [0.0] * 16


def test_what_was_unpacked_packs_to_the_same_values() -> None:
    rng = np.random.default_rng(0)
    once = q4.unpack(q4.pack(rng.standard_normal((5, 96)).astype(np.float32)), 96)
    assert np.abs(q4.unpack(q4.pack(once), 96) - once).max() < 1e-6


def test_the_error_stays_within_a_step() -> None:
    weights = np.random.default_rng(1).standard_normal((7, 64)).astype(np.float32)
    packed = q4.pack(weights)
    assert packed.shape == (7, 36)
    step = np.abs(weights.reshape(-1, 32)).max(axis=1) / 8
    error = np.abs(q4.unpack(packed, 64) - weights).reshape(-1, 32).max(axis=1)
    assert (error <= step * 1.01).all()


def test_zeros_stay_zero() -> None:
    assert not q4.unpack(q4.pack(np.zeros((1, 32), np.float32)), 32).any()


def test_a_ragged_row_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        q4.pack(np.zeros((1, 33), np.float32))
