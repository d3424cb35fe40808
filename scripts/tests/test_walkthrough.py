"""From labelled texts to answers: the three scripts, the service's own reading of what they write, and the guide."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sklearn")

from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification  # noqa: E402

import fewshot  # noqa: E402
import finetune  # noqa: E402
import import_model  # noqa: E402
from tasnif_train import bundle, heads  # noqa: E402
from tasnif_train.heads import Head  # noqa: E402
from tasnif_train.shipped import Shipped  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "models/tiny"
EXAMPLE = ROOT / "scripts/examples/labelled.jsonl"
TASNIF = os.environ.get("TASNIF")
needs_tasnif = pytest.mark.skipif(not TASNIF, reason="TASNIF names no tasnif program (target/debug/tasnif)")
PREFIX = "query: "
TEXTS = (
    "Oil prices rose after the decision.",
    "سجل المهاجم ثلاثة أهداف في المباراة.",
    "Doctors </s> praised a vaccine.",
)


def run(module: Any, *arguments: object) -> int:
    argv, sys.argv = sys.argv, ["script", *map(str, arguments)]
    try:
        return int(module.main())
    finally:
        sys.argv = argv


def write_base(folder: Path) -> None:
    """The tiny bundle's encoder as an ordinary Hugging Face one: random, but it tells texts apart."""
    folder.mkdir(parents=True)
    tensors = {k: v for k, v in bundle.read_tensors(TINY).items() if not k.startswith(("topics.", "stance."))}
    bundle.write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(TINY / name, folder / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, the example as a multi-label set (topic and language), and six bundles made of it."""
    place = tmp_path_factory.mktemp("walkthrough")
    write_base(place / "base")
    rows = [json.loads(line) for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]
    many = [{"body": row["text"], "tags": [row["label"], row["lang"]]} for row in rows]
    (place / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many))
    models = place / "models"
    tuned = ("--base", place / "base", "--epochs", 1, "--lr", 1e-3, "--max-tokens", 128, "--prefix", PREFIX)
    fields = ("--text-field", "body", "--label-field", "tags")
    assert run(finetune, EXAMPLE, "--out", models / "one", *tuned, "--license", "MIT", "--languages", "ar,en") == 0
    assert run(finetune, place / "many.jsonl", "--out", models / "many", *tuned, *fields) == 0
    few = ("--encoder", TINY)
    assert run(fewshot, EXAMPLE, "--out", models / "few-one", *few) == 0
    assert run(fewshot, place / "many.jsonl", "--out", models / "few-many", *few, *fields) == 0
    for name, kind in (("one", ("--calibrate", EXAMPLE)), ("many", ())):
        plain = place / f"plain-{name}"
        plain.mkdir()
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            shutil.copyfile(models / name / file, plain / file)
        assert run(import_model, plain, "--out", models / f"imported-{name}", "--prefix", PREFIX, *kind) == 0
    return place


def manifest(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "tasnif.toml").read_text(encoding="utf-8"))


def scores(folder: Path, text: str) -> dict[str, float]:
    """What a bundle should answer, put together here from transformers and the manifest alone."""
    table = manifest(folder)
    labels = table["topics"]["labels"]
    if table["topics"]["head"] == "classifier":
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.encode_special_tokens = True
        parts = [tokenizer.encode(part, add_special_tokens=False).ids for part in (table["input"]["prefix"], text)]
        # The vocabulary holds "</s>" as a piece; in an article it is unknown text.
        ids = [0, *parts[0], *(3 if i < 3 else i for i in parts[1]), 2]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    else:
        tensors = bundle.read_tensors(folder)
        (embedded,) = heads.embed(Shipped.load(TINY), [text])
        answer = Head(tensors["topics.weight"], tensors["topics.bias"]).answer(embedded)
        logits = torch.from_numpy(answer.logits[0])
    scale = torch.tensor([label["calibration"]["scale"] for label in labels], dtype=torch.double)
    bias = torch.tensor([label["calibration"]["bias"] for label in labels], dtype=torch.double)
    logits = logits * scale + bias
    p = torch.sigmoid(logits) if table["topics"]["scores"] == "sigmoid" else torch.softmax(logits, -1)
    return {label["id"]: float(value) for label, value in zip(labels, p, strict=True)}


BUNDLES = ("one", "many", "few-one", "few-many", "imported-one", "imported-many")


@pytest.mark.parametrize("name", BUNDLES)
def test_the_self_test_is_what_the_stored_weights_say(place: Path, name: str) -> None:
    folder = place / "models" / name
    lines = (folder / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    assert 1 <= len(lines) <= 3
    for line in lines:
        golden = json.loads(line)
        assert scores(folder, golden["article"]["text"]) == pytest.approx(golden["topics"], abs=1e-4)


@needs_tasnif
@pytest.mark.parametrize("name", BUNDLES)
def test_the_service_agrees_with_torch(place: Path, name: str) -> None:
    """It loads only what passes its self-test."""
    folder = place / "models" / name
    for text in TEXTS:
        command = [str(TASNIF), "classify", "--json", "--models", str(place / "models"), "--model", name]
        # In f32: what int8 may differ by is the encoder's own matter.
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"TASNIF_PRECISION": "f32"},
        )
        assert done.returncode == 0, done.stderr
        verdict = json.loads(done.stdout)
        assert verdict["model"] == {"name": name, "version": "1.0.0"}
        expected = scores(folder, text)
        assert {topic["label"]: topic["score"] for topic in verdict["topics"]} == pytest.approx(expected, abs=1e-3)
        if "many" not in name:
            assigned = [topic["label"] for topic in verdict["topics"] if topic["assigned"]]
            assert assigned == [max(expected, key=lambda label: expected[label])]


def test_a_bundle_tells_where_it_is_from(place: Path) -> None:
    one, many = manifest(place / "models/one"), manifest(place / "models/many")
    assert (one["license"], one["languages"], one["base"]) == ("MIT", ["ar", "en"], "base")
    assert one["training"] == [{"source": "labelled.jsonl", "license": "unstated", "examples": 48}]
    assert one["input"] == {"template": "single", "prefix": PREFIX}
    assert len({label["calibration"]["scale"] for label in one["topics"]["labels"]}) == 1
    assert [label["id"] for label in many["topics"]["labels"]] == ["ar", "economy", "en", "health", "sport"]
    assert all(0 < label["threshold"] < 1 for label in many["topics"]["labels"])
    config = json.loads((place / "models/many/config.json").read_text())
    assert (config["problem_type"], config["id2label"]["3"]) == ("multi_label_classification", "health")
    card = (place / "models/one/README.md").read_text(encoding="utf-8")
    assert "On 12 texts that were held out" in card
    assert "| economy | 4 |" in card
    few = (place / "models/few-many/README.md").read_text(encoding="utf-8")
    assert "Cross-validated over the 60 labelled texts in 5 parts" in few
    assert "How good it is, and whether" in (place / "models/imported-many/README.md").read_text(encoding="utf-8")
    assert "On the 60 texts of labelled.jsonl" in (place / "models/imported-one/README.md").read_text(encoding="utf-8")


def test_few_shot_bundles_share_the_word_embeddings(place: Path) -> None:
    first, second = (place / "models" / name / "embeddings.safetensors" for name in ("few-one", "few-many"))
    if TINY.stat().st_dev == first.stat().st_dev:
        assert first.samefile(second)
    assert first.read_bytes() == (TINY / "embeddings.safetensors").read_bytes()


def refusal(caplog: pytest.LogCaptureFixture, module: Any, *arguments: object) -> str:
    caplog.clear()
    assert run(module, *arguments) == 1
    return caplog.text


def test_refusals_leave_nothing_behind(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = ("--out", tmp_path / "models/new")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copyfile(place / "models/one/config.json", pickled / "config.json")
    (pickled / "pytorch_model.bin").write_bytes(b"never opened")
    for module, first in ((import_model, (pickled,)), (finetune, (EXAMPLE, "--base", pickled))):
        message = refusal(caplog, module, *first, *out)
        assert "pytorch_model.bin" in message
        assert "save_pretrained(sys.argv[1])" in message
    assert "An encoder without a head is a --base" in refusal(caplog, import_model, place / "base", *out)
    assert "--max-tokens 4096" in refusal(
        caplog, finetune, EXAMPLE, "--base", place / "base", "--max-tokens", 4096, *out
    )
    assert "is there already" in refusal(caplog, fewshot, EXAMPLE, "--out", place / "models/one")
    assert "is not a bundle with a frozen encoder" in refusal(
        caplog, fewshot, EXAMPLE, "--encoder", place / "base", *out
    )
    assert "the model has no label" in refusal(
        caplog, import_model, place / "plain-many", "--calibrate", write_foreign(tmp_path), *out
    )
    headless = tmp_path / "headless"
    shutil.copytree(place / "plain-one", headless)
    shutil.copyfile(place / "base/model.safetensors", headless / "model.safetensors")
    assert "the weights lack" in refusal(caplog, import_model, headless, *out)
    assert not list(tmp_path.glob("models/*"))


def test_an_older_tokenizer_is_converted(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "oil", "prices", "rose", "the", "bank", "##s", "."]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=2,
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "old")
    (tmp_path / "old/vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "old/tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    assert run(import_model, tmp_path / "old", "--out", tmp_path / "new") == 0
    tokenizer = Tokenizer.from_file(str(tmp_path / "new/tokenizer.json"))
    assert tokenizer.encode("The banks.").ids == [2, 8, 9, 10, 11, 3]
    assert "config.json only numbers them" in (tmp_path / "new/README.md").read_text(encoding="utf-8")
    if TASNIF:
        done = subprocess.run(
            [TASNIF, "models", "verify", str(tmp_path / "new")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def write_foreign(folder: Path) -> Path:
    path = folder / "foreign.jsonl"
    path.write_text('{"text": "x", "label": "weather"}\n')
    return path


def commands() -> str:
    """All that the guide has the reader run after the preparation."""
    guide = (ROOT / "docs/adding-a-model.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_guide_works_as_written(tmp_path: Path) -> None:
    """Word for word, in a folder like the repository whose base and default model are tiny.

    Without the program its commands do nothing, and the guide ends before it serves.
    """
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path / "bin/python3", f'exec "{sys.executable}" "$@"')
    stand_in(tmp_path / "bin/tasnif", f'exec "{Path(TASNIF).resolve()}" "$@"' if TASNIF else "cat > /dev/null")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    shutil.copytree(TINY, tmp_path / "models/default")
    write_base(tmp_path / "base")
    port = free_port()
    script = commands().replace("localhost:8080", f"localhost:{port}")
    if not TASNIF:
        script = script[: script.index("export TASNIF_ADMIN_KEY")]
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TASNIF_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
    }
    out = bash(f"trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\nset -eu\n{script}", tmp_path, environment)
    made = {"desk", "desk-fewshot", "desk-imported", "default"}
    assert {path.name for path in (tmp_path / "models").iterdir()} == made
    if TASNIF:
        assert '"version":"1.2.0"' in out
        assert out.count('"assigned":') > 5


def stand_in(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def bash(script: str, folder: Path, environment: dict[str, str]) -> str:
    command: Sequence[str] = ("bash", "-c", script)
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout
