"""Every example of the OpenAPI document, held against its own schema."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import client

schemas = client("jsonschema_rs")


@pytest.fixture(scope="session")
def document(service: str) -> Any:
    with urllib.request.urlopen(f"{service}/openapi.json") as answer:
        return json.load(answer)


def contents(document: Any) -> Iterator[tuple[str, Any]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            bodies = [("request", operation.get("requestBody", {})), *operation["responses"].items()]
            for of, body in bodies:
                for media_type, content in body.get("content", {}).items():
                    yield f"{method} {path} {of} {media_type}", content


def test_examples_have_the_shape_of_their_schemas(document: Any) -> None:
    checked = 0
    for place, content in contents(document):
        if place.endswith("application/x-ndjson"):
            continue  # of a line, where the example is of several
        schema = {"components": document["components"], **content.get("schema", {})}
        validator = schemas.Draft202012Validator(schema)
        examples = content.get("examples", {"example": {"value": content.get("example")}})
        for name, example in examples.items():
            if example["value"] is not None:
                errors = [error.message for error in validator.iter_errors(example["value"])]
                assert not errors, f"{place}, {name}: {errors}"
                checked += 1
    assert checked > 300
