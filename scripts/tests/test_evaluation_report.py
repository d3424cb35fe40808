import json
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import evaluation_report as script
from tasnif_train import evaluation, probes
from tasnif_train.calibration import StanceCalibration, TopicCalibration
from tasnif_train.data import Article, Pair
from tasnif_train.evaluation import Answer, Request

LABELS = ("money", "sport")


def made(count: int) -> list[Article]:
    articles = []
    for i in range(count):
        topic, lang, pair = LABELS[i % 2], ("en", "de")[i % 3 == 0], Pair(f"target {i}", i % 3)
        text = f"{topic} | number {i} " * 30
        articles.append(Article(str(i), lang, "made", "mit", text, frozenset({topic}), None, (pair,), topic))
    return articles


class Guess:
    """Answers at random, the same each time."""

    def classify(self, requests: Sequence[Request]) -> list[Answer]:
        rng = random.Random(3)

        def stance() -> list[float]:
            weights = [rng.random() for _ in range(4)]
            return [w / sum(weights) for w in weights]

        return [
            Answer({k: (s := rng.random(), s > 0.5) for k in LABELS}, [stance() for _ in r.targets or [""]])
            for r in requests
        ]


def measured() -> dict[str, Any]:
    judged = evaluation.ask(Guess(), made(30))
    fitted = TopicCalibration(np.ones(2), np.zeros(2)), StanceCalibration()
    figures = {"engine": "made", "model": "made 1", "data": "thirty", "errors": evaluation.errors(judged, LABELS)}
    return figures | evaluation.report(judged, LABELS, ["en"], fitted)


def run(folder: Path, *arguments: object) -> str:
    out = folder / "made.md"
    argv, sys.argv = sys.argv, ["evaluation_report.py", "--out", str(out), *map(str, arguments)]
    try:
        assert script.main() == 0
    finally:
        sys.argv = argv
    return out.read_text(encoding="utf-8")


def test_a_page_has_every_section_and_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text(json.dumps(measured()))
    probed = {"model": "made 1", "edits": probes.edits(Guess(), made(30))}
    probed["two_topics"] = probes.two_topics(Guess(), probes.mixtures(made(30), 2))
    probed["claims"] = probes.claims(Guess(), {"mawqif": made(30)})
    (tmp_path / "probes.json").write_text(json.dumps(probed))
    choices = tmp_path / "choices.toml"
    choices.write_text(
        '[[choice]]\nwhat = "a"\ninstead = "b"\nmeasure = "F1"\nwith = 0.5\nwithout = 0.4\nkept = true\n'
    )
    figures = ("--evaluation", tmp_path / "test.json", "--probes", tmp_path / "probes.json", "--choices", choices)
    text = run(tmp_path, *figures)
    assert "| a | b | F1 | .500 | .400 | yes |" in text
    assert "German" in text
    assert "cybersecurity" not in text
    for picture in re.findall(r"\]\((.*\.png)\)", text):
        assert (tmp_path / picture).stat().st_size > 1000
    for heading in ("Goals", "Confusion", "Calibration", "Probes", "Errors", "What it must not be used for"):
        assert f"## {heading}" in text
    quotes = [line for line in text.splitlines() if line.startswith("- ")]
    assert quotes
    assert all("\\|" in line for line in quotes if "number" in line)
    pictures = {p.name: p.read_bytes() for p in tmp_path.glob("*.png")}
    assert len(pictures) == 3
    assert run(tmp_path, *figures) == text
    assert pictures == {p.name: p.read_bytes() for p in tmp_path.glob("*.png")}


def test_figures_of_two_models_make_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = measured()
    (tmp_path / "a.json").write_text(json.dumps(figures))
    (tmp_path / "b.json").write_text(json.dumps(figures | {"model": "made 2"}))
    with pytest.raises(SystemExit):
        run(tmp_path, "--evaluation", tmp_path / "a.json", tmp_path / "b.json")
    assert "made 1, made 2" in capsys.readouterr().err


def test_a_baseline_finds_what_the_target_gives_away() -> None:
    pytest.importorskip("sklearn")
    from tasnif_train import baselines

    pairs = [Pair(f"{('good', 'bad', 'plain')[i % 3]} {i}", i % 3) for i in range(60)]
    texts = [f"number {i // 3 % 5}, which each stance has" for i in range(60)]
    told = [Article(p.target, "en", "made", "mit", text, pairs=(p,)) for p, text in zip(pairs, texts, strict=True)]
    shortcuts = baselines.shortcuts(told[:45], told[45:])
    assert shortcuts["trained, target alone"] == 1.0
    assert shortcuts["trained, text alone"] < 0.5
