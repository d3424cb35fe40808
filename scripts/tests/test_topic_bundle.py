import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tasnif_train import topic_bundle
from tasnif_train.bundle import Label, Source
from tasnif_train.calibration import TopicCalibration
from tasnif_train.fitting import Decision
from tasnif_train.topic_bundle import BundleError, Input, TopicManifest


def manifest(multi: bool) -> TopicManifest:
    return TopicManifest(
        name="desk",
        version="1.0.0",
        description='says "so"\tأ',
        license="MIT",
        base="b",
        languages=("ar",),
        input=Input("single", "query: ", 128, 16),
        head="classifier",
        multi=multi,
        labels=(Label("a", {"en": "A"}, ("medtop:1",)), Label("b;c", {})),
        training=(Source("set", "CC0-1.0", 7),),
    )


@pytest.mark.parametrize(("multi", "scores", "windows"), [(True, "sigmoid", "max"), (False, "softmax", "mean")])
def test_the_manifest_says_what_was_decided(multi: bool, scores: str, windows: str) -> None:
    fitted = TopicCalibration(np.array([1.23456, 2.0]), np.array([0.1, -1e-9]), np.array([0.41, 0.5]))
    decided = manifest(multi).decided(Decision(multi, fitted))
    table = tomllib.loads(topic_bundle.to_toml(decided, {"config.json": "00"}))
    assert table["description"] == 'says "so"\tأ'
    assert table["input"] == {"template": "single", "prefix": "query: "}
    assert table["windows"] == {"tokens": 128, "overlap": 16, "target_tokens": 0}
    topics = table["topics"]
    assert (topics["head"], topics["scores"], topics["windows"]) == ("classifier", scores, windows)
    first, second = topics["labels"]
    assert first["calibration"] == {"scale": 1.2346, "bias": 0.1}
    assert (first["threshold"], first["name"], first["iptc"]) == (0.41, {"en": "A"}, ["medtop:1"])
    assert (second["id"], "name" in second) == ("b;c", False)
    assert table["training"] == [{"source": "set", "license": "CC0-1.0", "examples": 7}]
    assert decided.decision().calibration.scale.tolist() == [1.2346, 2.0]


def test_hashes_are_of_all_that_serving_reads(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("free to be edited")
    topic_bundle.write_manifest(tmp_path, manifest(True))
    files = tomllib.loads((tmp_path / "tasnif.toml").read_text(encoding="utf-8"))["files"]
    assert files == {"config.json": hashlib.sha256(b"{}").hexdigest()}


def test_a_bundle_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "models/desk"

    def interrupted() -> None:
        with topic_bundle.staged(out, False) as folder:
            (folder / "config.json").write_text("{}")
            # A service that watches the folder takes each folder with a config.json for a bundle.
            assert not list(out.parent.glob("*/config.json"))
            assert not list(out.parent.glob(".*/config.json"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert list(out.parent.iterdir()) == []
    for text in ("first", "second"):
        with topic_bundle.staged(out, True) as folder:
            (folder / text).write_text(text)
    assert [path.name for path in out.iterdir()] == ["second"]
    assert [path.name for path in out.parent.iterdir()] == ["desk"]


def test_nothing_is_replaced_unasked_and_names_are_names(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(BundleError, match="--replace"):
        topic_bundle.check_out(tmp_path / "there", False)
    topic_bundle.check_out(tmp_path / "there", True)
    for name in ("a@1", ".hidden", "a b", ".."):
        with pytest.raises(BundleError, match="name"):
            topic_bundle.check_out(tmp_path / name, False)


def test_self_tests_are_short_and_of_different_labels() -> None:
    a, b = frozenset("a"), frozenset("b")
    texts = [("one", a), ("two", a), ("three", b), ("four", b), ("long", b)]
    assert topic_bundle.golden_texts(texts, [1, 2, 3, 4, 99], room=10) == ["one", "three", "two"]
    assert topic_bundle.golden_texts(texts[:1], [1], room=10) == ["one"]
    assert topic_bundle.golden_texts([("word " * 100, a)], [100], room=10) == ["word word word word word"]


def test_golden_lines_are_what_the_loader_reads(tmp_path: Path) -> None:
    topic_bundle.write_golden(tmp_path, [("نص", {"a": 0.12345678})])
    (line,) = (tmp_path / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"article": {"text": "نص"}, "topics": {"a": 0.123457}}


def test_a_card_warns_of_small_samples() -> None:
    row = {"positives": 3, "precision": 1.0, "recall": 0.5, "f1": 0.667}
    report = {"articles": 3, "micro_f1": 0.5, "macro_f1": 0.5, "map": 0.5, "ece": 0.1, "labels": {"a": row}}
    text = "\n".join([*topic_bundle.heading(manifest(True), "Made."), *topic_bundle.quality(report, True, "How.")])
    assert "many labels at once" in text
    assert "Fewer than 20 texts of a" in text
    assert "| a | 3 |" in text


@pytest.mark.parametrize("multi", [True, False])
def test_manifests_fit_the_schema(multi: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(__file__).parents[2] / "models/tasnif.schema.json").read_text(encoding="utf-8"))
    text = topic_bundle.to_toml(manifest(multi), {"config.json": "0" * 64})
    jsonschema.validate(tomllib.loads(text), schema)
