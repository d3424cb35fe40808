from typing import Any

import pytest
from conftest import OIL, TOPICS, Ask, client

hub = client("huggingface_hub")


@pytest.fixture
def model(service: str) -> Any:
    return hub.InferenceClient(model=f"{service}/models/tiny")


def test_text_classification(model: Any, native: Ask) -> None:
    answer = model.text_classification(OIL)
    assert {element.label: element.score for element in answer} == pytest.approx(native(OIL), abs=1e-4)
    assert [element.score for element in answer] == sorted((e.score for e in answer), reverse=True)


def test_function_and_top_k(model: Any, native: Ask) -> None:
    best = model.text_classification(OIL, top_k=1, function_to_apply="sigmoid")
    assert [element.label for element in best] == [max(native(OIL), key=native(OIL).get)]
    shares = model.text_classification(OIL, function_to_apply="softmax")
    assert sum(element.score for element in shares) == pytest.approx(1, abs=1e-5)
    logits = model.text_classification(OIL, function_to_apply="none")
    assert {element.label for element in logits} == TOPICS


def test_zero_shot_classification(model: Any, native: Ask) -> None:
    many = model.zero_shot_classification(OIL, candidate_labels=["sport", "politics"], multi_label=True)
    expected = {label: score for label, score in native(OIL).items() if label in ("sport", "politics")}
    assert {element.label: element.score for element in many} == pytest.approx(expected, abs=1e-4)
    one = model.zero_shot_classification(
        OIL, candidate_labels=["sport", "politics"], hypothesis_template="This is about {}."
    )
    assert sum(element.score for element in one) == pytest.approx(1, abs=1e-5)


def test_failures_are_told(service: str) -> None:
    with pytest.raises(hub.errors.HfHubHTTPError) as refused:
        hub.InferenceClient(model=f"{service}/models/none").text_classification(OIL)
    assert refused.value.response.status_code == 404
    assert "none" in refused.value.response.json()["error"]
