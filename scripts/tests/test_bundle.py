from pathlib import Path

import numpy as np
import pytest

from tasnif_train import bundle, q4
from tasnif_train.config import SequenceConfig

MANIFEST = bundle.Manifest(
    name="x",
    version="1.2.3",
    description='a "quoted" model',
    license="MIT",
    base="some/base",
    languages=("ar", "en"),
    labels=(
        bundle.Label("a", {"en": "A", "ar": "أ"}, ("medtop:1", "medtop:2"), 0.41, 1.02, -0.1),
        bundle.Label("b", {"en": "B"}),
    ),
    sequence=SequenceConfig("query: ", 128, 32, 16),
    temperature=1.3,
    stance_bias=(0.1, -0.1, 0.0, 0.0),
    training=(bundle.Source("ant", "apache-2.0", 12),),
)


def test_the_manifest_survives_a_round_trip() -> None:
    assert bundle.from_toml(bundle.to_toml(MANIFEST, {"config.json": "00"})) == MANIFEST


def test_int8_rows_are_within_half_a_step_and_symmetric() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    weight[3] = 0
    codes, scale = bundle.quantise_rows(weight)
    assert codes.min() >= -127
    assert (np.abs(codes * scale[:, None] - weight) <= scale[:, None] / 2 + 1e-7).all()
    negated, _ = bundle.quantise_rows(-weight)
    assert (negated == -codes).all()


def test_compact_tensors_expand_to_their_names() -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "encoder.layer.0.output.dense.weight": rng.standard_normal((4, 8)).astype(np.float32),
        "encoder.layer.0.output.dense.bias": rng.standard_normal(4).astype(np.float32),
        "embeddings.position_embeddings.weight": rng.standard_normal((3, 8)).astype(np.float32),
    }
    packed = bundle.compact(tensors)
    assert packed["encoder.layer.0.output.dense.weight"].dtype == np.int8
    assert packed["embeddings.position_embeddings.weight"].dtype == np.float32
    words = rng.standard_normal((2, 32)).astype(np.float32)
    plain = bundle.expand({**packed, f"{bundle.WORDS}.q4_0": q4.pack(words)})
    assert set(plain) == {*tensors, bundle.WORDS}
    assert plain[bundle.WORDS].shape == (2, 32)


def test_the_order_of_tensors_does_not_change_the_bytes(tmp_path: Path) -> None:
    a, b = np.zeros(3, np.float32), np.ones((2, 2), np.int8)
    bundle.write_tensors(tmp_path / "1", {"a": a, "b": b})
    bundle.write_tensors(tmp_path / "2", {"b": b, "a": a})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_tensor_in_two_files_is_an_error(tmp_path: Path) -> None:
    for name in ("1.safetensors", "2.safetensors"):
        bundle.write_tensors(tmp_path / name, {"a": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="another file"):
        bundle.read_tensors(tmp_path)


def test_the_manifest_names_the_hash_of_every_file_but_the_prose(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("prose")
    bundle.write_manifest(tmp_path, MANIFEST)
    text = (tmp_path / "tasnif.toml").read_text(encoding="utf-8")
    assert '"config.json" = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"' in text
    assert "README" not in text
