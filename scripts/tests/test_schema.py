"""models/tasnif.schema.json accepts what is shipped and refuses what the loader refuses."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

MODELS = Path(__file__).parents[2] / "models"
SCHEMA: dict[str, Any] = json.loads((MODELS / "tasnif.schema.json").read_text(encoding="utf-8"))
BUNDLES = sorted(MODELS.glob("*/tasnif.toml"))


NLI: dict[str, Any] = {
    "format": 1,
    "name": "nli",
    "version": "1",
    "input": {"template": "pair"},
    "windows": {"tokens": 512, "overlap": 64, "target_tokens": 128},
    "nli": {
        "labels": ["entailment", "not_entailment"],
        "hypotheses": {"ar": {"topic": "هذا النص عن {}."}, "en": {"favor": "For {}.", "against": "Against {}."}},
    },
}


def test_manifests_of_inference_fit() -> None:
    jsonschema.validate(NLI, SCHEMA)
    wrong: list[dict[str, Any]] = [
        {"labels": ["entailment"]},
        NLI["nli"] | {"hypotheses": {"en": {"topic": "no place"}}},
        NLI["nli"] | {"hypotheses": {"en": {"about": "{}"}}},
    ]
    for nli in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(NLI | {"nli": nli}, SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.parent.name)
def test_shipped_manifests_fit(path: Path) -> None:
    jsonschema.validate(tomllib.loads(path.read_text(encoding="utf-8")), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("licence",), "MIT"),
        (("name",), " "),
        (("input", "template"), "triple"),
        (("windows", "tokens"), "128"),
        (("topics", "labels"), []),
        (("topics", "labels", 0, "threshold"), 45),
        (("topics", "labels", 0, "calibration", "scale"), -1),
        (("stance", "labels"), ["against", "favor", "neutral", "unrelated"]),
        (("stance", "calibration", "temperature"), 0),
        (("labels",), {"calibration": {"scale": 0, "bias": 1}}),
        (("files", "../secret"), "0" * 64),
    ],
)
def test_broken_manifests_do_not(path: tuple[str | int, ...], value: object) -> None:
    manifest = copy.deepcopy(tomllib.loads((MODELS / "tiny/tasnif.toml").read_text(encoding="utf-8")))
    place: Any = manifest
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMA)
