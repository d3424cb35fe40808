"""What needs torch and transformers: skipped where they are not installed."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasnif_train import bundle, q4

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import calibrate  # noqa: E402
import card  # noqa: E402
import evaluate  # noqa: E402
import export  # noqa: E402
import train  # noqa: E402
import windows  # noqa: E402
from tasnif_train import attention  # noqa: E402
from tasnif_train.calibration import TopicCalibration  # noqa: E402
from tasnif_train.evaluation import Request  # noqa: E402
from tasnif_train.model import collate  # noqa: E402
from tasnif_train.predict import Windowed  # noqa: E402
from tasnif_train.sequence import assemble  # noqa: E402
from tasnif_train.shipped import Shipped  # noqa: E402

TINY = Path(__file__).resolve().parents[2] / "models/tiny"
TOPICS = ("politics", "sport")


@pytest.fixture(scope="module")
def tiny() -> Shipped:
    return Shipped.load(TINY)


def test_the_tiny_bundle_answers_as_its_golden_file_says(tiny: Shipped) -> None:
    for line in (TINY / "golden.jsonl").read_text(encoding="utf-8").splitlines():
        golden = json.loads(line)
        article = golden["article"]
        (answer,) = tiny.classify([Request("", article["text"], tuple(article.get("targets", ())))])
        for label, (score, _) in answer.topics.items():
            assert score == pytest.approx(golden["topics"][label], abs=1e-4)
        expected = [list(entry.values()) for entry in golden["stance"]]
        assert np.abs(np.array(answer.stance) - expected).max() < 1e-4


def test_company_does_not_change_an_answer(tiny: Shipped) -> None:
    short = assemble(tiny.layout, [[10, 11]], [20, 21])
    long = assemble(tiny.layout, [[]], list(range(20, 80)))
    with torch.inference_mode():
        alone = tiny.model(collate([short]))
        together = tiny.model(collate([long, short]))
    assert torch.allclose(alone[0][0], together[0][1], atol=1e-5)
    assert torch.allclose(alone[1][0], together[1][1], atol=1e-5)


def test_branches_do_not_know_of_each_other(tiny: Shipped) -> None:
    shared = replace(tiny.layout, shared=True)
    text, first, second = [20, 21, 22], [10, 11], [12]
    with torch.inference_mode():
        topics, stance = tiny.model(collate([assemble(shared, [first, second], text)]))
        for index, target in enumerate((first, second)):
            alone = tiny.model(collate([assemble(shared, [target], text), assemble(shared, [], list(range(20, 60)))]))
            assert torch.allclose(alone[0][0], topics[0], atol=1e-5)
            assert torch.allclose(alone[1][0, 0], stance[0, index], atol=1e-5)
        other = tiny.model(collate([assemble(shared, [[13, 14]], text)]))
        assert not torch.allclose(other[1][0, 0], stance[0, 0], atol=1e-3)


def write_base(folder: Path) -> None:
    """The tiny bundle's trunk as fetch_base.py would have left it."""
    folder.mkdir()
    tensors = {k: v for k, v in bundle.read_tensors(TINY).items() if not k.startswith(("topics.", "stance."))}
    bundle.write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    (folder / "word_embeddings.q4_0").write_bytes(q4.pack(tensors[bundle.WORDS]).tobytes())
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(TINY / name, folder / name)


def write_data(folder: Path) -> None:
    """Sixty articles of two topics that a few words give away."""
    folder.mkdir()
    words = {"politics": "parliament government minister law", "sport": "team match goal final"}
    rows = []
    for i in range(60):
        topic = TOPICS[i % 2]
        stance = [{"target": f"the {words[topic].split()[i % 4]} {i}", "stance": ("favor", "against")[i % 2]}]
        text = f"{words[topic]} number {i}\n" + f"{words[topic]} again. " * 3
        row = {"id": f"x{i}", "lang": "en", "source": "made", "license": "mit", "text": text}
        rows.append(json.dumps(row | {"topics": [topic], "primary": topic, "stance": stance}))
    (folder / "annotated.train.jsonl").write_text("\n".join(rows) + "\n")
    topics = [f'[[topic]]\nid = "{t}"\nen = "{t}"\niptc = ["medtop:1"]\n' for t in TOPICS]
    (folder / "topics.toml").write_text("\n".join(topics))
    (folder / "tiny.toml").write_text(
        'name = "tiny"\nversion = "0.0.1"\ndescription = "d"\nlicense = "MIT"\nbase = "none"\n'
        'annotated = "annotated.train"\nholdout_percent = 30\n[sequence]\ntokens = 256\noverlap = 8\n'
        "[optim]\nbatch = 8\nepochs = 4\nlr = 1e-3\nhead_lr = 1e-2\n"
    )


def run(module: object, *arguments: object) -> None:
    argv, sys.argv = sys.argv, ["script", *map(str, arguments)]
    try:
        assert module.main() == 0  # type: ignore[attr-defined]
    finally:
        sys.argv = argv


@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bf16_and_its_gradients_are_torch_s_own(masked: bool) -> None:
    torch.manual_seed(1)
    module = torch.nn.Module()
    mask = torch.rand(2, 1, 9, 9) < 0.7 if masked else None
    if mask is not None:
        mask[..., 0] = True
    parts = [torch.randn(2, 3, 9, 32).bfloat16() for _ in range(3)]
    found = [part.clone().requires_grad_() for part in parts]
    expected = [part.float().requires_grad_() for part in parts]
    ours, _ = attention.attend(module, *found, mask)
    theirs = torch.nn.functional.scaled_dot_product_attention(*expected, attn_mask=mask).transpose(1, 2)
    assert torch.allclose(ours.float(), theirs, atol=0.03)
    weights = torch.randn_like(theirs)
    (ours.float() * weights).sum().backward()
    (theirs * weights).sum().backward()
    for mine, yours in zip(found, expected, strict=True):
        assert mine.grad is not None
        assert yours.grad is not None
        assert torch.allclose(mine.grad.float(), yours.grad, atol=0.05)


def test_from_data_to_a_calibrated_bundle(tmp_path: Path) -> None:
    base, folder, runs, out = (tmp_path / name for name in ("base", "data", "run", "out"))
    write_base(base)
    write_data(folder)
    common = ("--config", folder / "tiny.toml", "--data", folder)
    taxonomy = ("--taxonomy", folder / "topics.toml")
    run(train, *common, *taxonomy, "--base", base, "--out", runs, "--evaluations", 1)
    before = (runs / "checkpoint.pt").stat().st_mtime_ns
    run(train, *common, *taxonomy, "--base", base, "--out", runs, "--resume", "--evaluations", 1)
    state = torch.load(runs / "checkpoint.pt", weights_only=True)
    assert (runs / "checkpoint.pt").stat().st_mtime_ns > before
    assert state["progress"]["history"][-1]["topics"]["micro_f1"] > 0.8
    assert not any("word_embeddings" in name for name in state["model"])

    exported = ("--checkpoint", runs / "checkpoint.pt", "--base", base, "--out", out)
    run(export, *common, *taxonomy, *exported)
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    run(export, *common, *taxonomy, *exported)
    assert first == {p.name: p.read_bytes() for p in out.iterdir()}

    run(calibrate, *common, "--bundle", out, "--report", runs / "calibration.json")
    manifest = bundle.read_manifest(out)
    assert manifest != replace(manifest, temperature=1.0)
    assert [label.id for label in manifest.labels] == list(TOPICS)
    report = json.loads((runs / "calibration.json").read_text())
    assert report["topics_after"]["articles"] == report["articles"] == report["languages"]["en"]["articles"]
    evaluation = runs / "evaluation.json"
    run(evaluate, "--torch", out, folder / "annotated.train.jsonl", "--json", evaluation)
    run(card, "--bundle", out, "--run", runs, "--evaluation", evaluation)
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "| made | mit |" in (out / "LICENSES.md").read_text(encoding="utf-8")
    assert "torch" in text


def test_poolings_of_windows_agree_on_one_and_part_on_several() -> None:
    calibration = TopicCalibration(np.array([1.0, 2.0]), np.array([0.0, -0.5]))
    scored = windows.poolings(calibration)
    one = Windowed(np.array([[0.3, -1.0]]), np.zeros((1, 4)), np.array([50]))
    for name, pool in scored.items():
        assert pool(one) == pytest.approx(calibration.apply(one.topics[0])), name
    two = Windowed(np.array([[2.0, -1.0], [-2.0, -1.0]]), np.zeros((2, 4)), np.array([30, 10]))
    by_name = {name: float(pool(two)[0]) for name, pool in scored.items()}
    assert by_name["mean logit"] == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert by_name["noisy-or"] == pytest.approx(1 - (1 - 1 / (1 + np.exp(-2.0))) * (1 - 1 / (1 + np.exp(2.0))))
    assert by_name["mean logit"] < by_name["log-mean-exp"] < by_name["largest logit"] < by_name["log-sum-exp"]


def test_poolings_are_compared_on_joined_articles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path / "data")
    common = ("--config", tmp_path / "data/tiny.toml", "--data", tmp_path / "data", "--json", tmp_path / "w.json")
    run(windows, "--bundle", TINY, *common, "--mixtures", 2, "--positions", 0)
    compared = json.loads((tmp_path / "w.json").read_text())
    assert set(compared) >= {"tuning split", "two topics in ten texts"}
    assert "| two topics in ten texts | 2 | noisy-or |" in capsys.readouterr().out
