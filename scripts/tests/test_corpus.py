"""What is trained on, and that nothing of it is measured on."""

import json
from pathlib import Path

import pytest

from tasnif_train import config as configuration
from tasnif_train import corpus, data
from tasnif_train.apart import Shingled
from tasnif_train.config import Config, Extra

AGENCY = (
    "The two ministers signed an agreement on the exchange of electricity between their countries on Tuesday, "
    "after talks of three years that had been broken off twice over the price of a new line across the strait"
)


def rows(path: Path, *entries: dict[str, object]) -> None:
    common = {"lang": "en", "source": "s", "license": "mit"}
    path.write_text("".join(json.dumps(common | entry) + "\n" for entry in entries), encoding="utf-8")


def annotated(name: str, text: str) -> dict[str, object]:
    return {"id": name, "text": text, "topics": ["energy"], "primary": "energy", "stance": []}


def claim(name: str, target: str, text: str) -> dict[str, object]:
    return {"id": name, "target": target, "stance": "favor", "text": text}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (AGENCY, True),
        (AGENCY.upper(), True),
        (f"Site header: politics, sport\nA deal at last\n{AGENCY}", True),
        (" ".join(AGENCY.split()[:24]), True),
        (f"{AGENCY} {' '.join(f'word{i}' for i in range(2000))}", True),
        (" ".join(reversed(AGENCY.split())), False),
        (" ".join(AGENCY.split()[:12]) + " " + " ".join(f"other{i}" for i in range(40)), False),
        ("", False),
        ("The two ministers", False),
    ],
)
def test_the_same_text_is_known_in_other_dress(text: str, same: bool) -> None:
    assert Shingled(["Another text that has nothing to do with it", AGENCY]).holds(text) is same


def test_a_short_text_is_itself() -> None:
    assert Shingled(["Oil prices rose"]).holds("oil prices ROSE")
    assert not Shingled(["Oil prices rose"]).holds("Oil prices fell")


def test_what_is_measured_on_is_not_trained_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    names = [f"n{i}" for i in range(40)]
    texts = {name: f"{name} " + " ".join(f"{name}word{i}" for i in range(30)) for name in names}
    rows(tmp_path / "data/train.jsonl", *[annotated(name, texts[name]) for name in names], annotated("again", AGENCY))
    rows(tmp_path / "data/test.jsonl", annotated("reported", f"Another title\n{AGENCY}"))
    held = next(name for name in names if data.is_held_out(name, 20))
    free = next(name for name in names if not data.is_held_out(name, 20))
    targets = [f"claim {i}" for i in range(60)]
    known = next(t for t in targets if not data.is_held_out(t, 20))
    claims = [claim(f"c{i}", t, f"{t} " + " ".join(f"{t}{j}" for j in range(20))) for i, t in enumerate(targets)]
    claims += [
        claim("of-tuning", known, texts[held]),
        claim("of-test", known, AGENCY),
        claim("of-both", known, texts[free]),
    ]
    rows(tmp_path / "data/claims.jsonl", *claims)
    more = {"target": "the line", "stance": "neutral"}
    rows(tmp_path / "targets.jsonl", {"id": free, "stance": [more]}, {"id": held, "stance": [more]})
    config = Config(
        *("m", "1.0.0", "", "mit", "base", "train"),
        reported="test",
        targets="targets.jsonl",
        holdout_percent=20,
        extra=(Extra("claims", per_epoch=10, repeat=2),),
    )
    read = corpus.read(config, tmp_path / "configs/m.toml", tmp_path / "data", ["energy"])
    trained = {article.id for article in read.training}
    assert free in trained
    assert not trained & {"again", held}
    assert held in {article.id for article in read.held_out}
    assert {article.id for article in read.training if article.pairs} == {free}
    assert not any(article.pairs for article in read.held_out)
    assert [count for count, _ in read.extra] == [10, 10]
    of_claims = {article.id for article in read.extra[0][1]}
    # A text with labels of its own keeps its claims.
    assert "of-both" in of_claims
    assert not of_claims & {"of-tuning", "of-test"}
    _, held_claims = config.extra[0].read(tmp_path / "data", 20)
    assert not of_claims & {article.id for article in held_claims}


def test_a_set_is_taken_as_often_as_it_is_told() -> None:
    assert configuration.parse_extra({"name": "a", "per_epoch": 3}).repeat == 1
    assert configuration.parse_extra({"name": "a", "per_epoch": 3, "repeat": 2}).repeat == 2
