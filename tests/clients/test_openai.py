from typing import Any

import pytest
from conftest import OIL, TOPICS, VOTE, Ask, client

openai = client("openai")


@pytest.fixture
def api(service: str) -> Any:
    with openai.OpenAI(base_url=f"{service}/v1", api_key="none", max_retries=0) as api:
        yield api


@pytest.mark.parametrize("texts", [OIL, [OIL, VOTE], [{"type": "text", "text": OIL}]])
def test_moderations(api: Any, native: Ask, texts: Any) -> None:
    answer = api.moderations.create(input=texts, model="tiny")
    assert answer.model == "tiny"
    asked = [OIL, VOTE][: len(answer.results)]
    assert len(answer.results) == (len(texts) if isinstance(texts, list) else 1)
    for result, text in zip(answer.results, asked, strict=True):
        scores = result.category_scores.model_dump(exclude_none=True)
        assert scores == pytest.approx(native(text), abs=1e-4)
        categories = result.categories.model_dump(exclude_none=True)
        assert categories.keys() == TOPICS
        assert result.flagged == any(categories.values())
        applied = result.category_applied_input_types.model_dump(exclude_none=True)
        assert applied == {topic: ["text"] for topic in TOPICS}


def test_the_default_model(api: Any) -> None:
    assert api.moderations.create(input=OIL).model == "tiny"


def test_failures_are_told(api: Any) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        api.moderations.create(input=OIL, model="none")
    assert refused.value.code == "model_unknown"
    assert refused.value.param == "model"
    with pytest.raises(openai.UnprocessableEntityError, match="empty"):
        api.moderations.create(input=" ")


def test_models_are_listed(api: Any) -> None:
    assert [model.id for model in api.models.list()] == ["tiny"]
