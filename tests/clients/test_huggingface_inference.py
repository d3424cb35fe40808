"""@huggingface/inference, by a script of Node's."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import OIL, REPOSITORY, Ask

SCRIPT = Path(__file__).parent / "huggingface_inference.mjs"
INSTALLED = REPOSITORY / "target/clients/node_modules/@huggingface/inference"


@pytest.mark.skipif(
    not os.environ.get("CI") and (shutil.which("node") is None or not INSTALLED.exists()),
    reason="Node or @huggingface/inference is not there",
)
def test_text_and_zero_shot_classification(service: str, native: Ask) -> None:
    command = ["node", str(SCRIPT), str(INSTALLED), f"{service}/models/", OIL]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    scores = {entry["label"]: entry["score"] for entry in answer["text"]}
    assert scores == pytest.approx(native(OIL), abs=1e-4)
    assert len(answer["best"]) == 1
    assert {entry["label"] for entry in answer["zero"]} == {"sport", "politics"}
    assert sum(entry["score"] for entry in answer["zero"]) == pytest.approx(1, abs=1e-5)
    assert "none" in answer["refused"]
