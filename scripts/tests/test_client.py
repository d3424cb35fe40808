"""The client against a service that fails in all the ways that services do."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faults import CUTS, FAULTS, Faulty, Reply, error, faulty, verdict

from score import AsyncTasnifClient, TasnifClient, TasnifError


@pytest.fixture
def client() -> Iterator[Callable[..., TasnifClient]]:
    made: list[TasnifClient] = []

    def make(service: Faulty, **settings: Any) -> TasnifClient:
        made.append(TasnifClient(service.url, **{"longest_wait": 0.5, "patience": 30, "batch": 8} | settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def articles(count: int) -> list[dict[str, str]]:
    return [{"id": str(n), "text": "x" * (n + 1)} for n in range(count)]


def check(answers: list[Any], count: int) -> None:
    """Nothing lost, nothing doubled, the order kept, and each with the answer to its own text."""
    assert [answer["id"] for answer in answers] == [str(n) for n in range(count)]
    assert [answer["usage"]["tokens"] for answer in answers] == list(range(1, count + 1))


@pytest.mark.parametrize("fault", [*FAULTS, *CUTS])
def test_a_fault_is_outlived(client: Callable[..., TasnifClient], fault: str) -> None:
    with faulty(lambda n, _: fault if n in (0, 2) else "") as service:
        check(list(client(service).classify_many(articles(40))), 40)
        assert len(service.asked) == 5 + (0 if fault == "slow" else 2)


def test_a_storm_of_faults_is_outlived(client: Callable[..., TasnifClient]) -> None:
    rng = random.Random(7)
    quick = {name: (status, {}, body) for name, (status, _, body) in FAULTS.items()}
    kinds: list[str | Reply] = [*CUTS, *quick.values()]
    with faulty(lambda n, _: rng.choice(kinds) if rng.random() < 0.3 else "") as service:
        check(list(client(service).classify_many(articles(400))), 400)
        assert len(service.asked) > 50


@pytest.mark.parametrize(
    "value", ["1", lambda: time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))]
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(client: Callable[..., TasnifClient], status: int, value: Any) -> None:
    times: list[float] = []

    def plan(n: int, _: Any) -> str | Reply:
        times.append(time.monotonic())
        return error(status, "overloaded", {"retry-after": value if value == "1" else value()}) if n == 0 else ""

    with faulty(plan) as service:
        list(client(service, longest_wait=0.01).classify_many(articles(3)))
    # A date has whole seconds: 2 of them are at least 1.
    assert times[1] - times[0] >= 1


def test_the_service_restarts(client: Callable[..., TasnifClient]) -> None:
    with faulty(lambda n, _: "slow") as service:
        answers = []
        for answer in client(service).classify_many(articles(120)):
            answers.append(answer)
            if len(answers) == 20:
                service.stop()
                time.sleep(0.5)
                service.start()
        check(answers, 120)


def test_articles_without_room_are_asked_again_alone(client: Callable[..., TasnifClient]) -> None:
    def plan(n: int, asked: list[dict[str, Any]]) -> str | Reply:
        if n > 0:
            return ""
        stopped = {"error": {"code": "shutting_down", "message": "the service is shutting down"}}
        return 200, {}, json.dumps({"verdicts": [verdict(asked[0]), stopped, verdict(asked[2]), stopped]}).encode()

    with faulty(plan) as service:
        check(list(client(service).classify_many(articles(4))), 4)
        assert [[a["id"] for a in asked] for asked in service.asked] == [["0", "1", "2", "3"], ["1", "3"]]


def test_patience_ends(client: Callable[..., TasnifClient]) -> None:
    with (
        faulty(lambda n, _: "drop") as service,
        pytest.raises(TasnifError, match=r"no answer in 2 s; the last attempt: RemoteProtocolError"),
    ):
        list(client(service, patience=2).classify_many(articles(3)))


def test_a_batch_that_is_too_large_is_halved(client: Callable[..., TasnifClient]) -> None:
    def plan(_: int, asked: list[dict[str, Any]]) -> str | Reply:
        return error(413, "body_too_large") if sum(len(a["text"]) for a in asked) > 30 else ""

    with faulty(plan) as service:
        answers = list(client(service).classify_many(articles(32)))
    check(answers[:30], 30)
    assert [(a["id"], a["error"]["code"]) for a in answers[30:]] == [("30", "body_too_large"), ("31", "body_too_large")]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (error(401, "key_invalid"), "key_invalid"),
        ((404, {}, b"nginx"), "unknown"),
        ((200, {}, b'{"predictions": []}'), ""),
        (
            (200, {}, b'{"verdicts": [{"error": {"code": "model_unknown", "message": "no", "param": "model"}}]}'),
            "model_unknown",
        ),
    ],
)
def test_what_no_article_can_help_ends_the_run(client: Callable[..., TasnifClient], reply: Reply, code: str) -> None:
    with faulty(lambda n, _: reply) as service:
        with pytest.raises(TasnifError) as raised:
            list(client(service).classify_many(["a"], model="absent"))
        assert raised.value.code == code
        assert len(service.asked) == 1


def test_bad_articles_keep_their_places(client: Callable[..., TasnifClient]) -> None:
    bad: Any = {"id": "b", "text": "half a pair: \ud800"}
    items: list[Any] = ["good", bad, {"text": None}, {"error": {"code": "mine", "message": "m"}}, {"text": {1}}, "last"]
    with faulty() as service:
        answers = list(client(service).classify_many(items))
    codes = [answer.get("error", {}).get("code") for answer in answers]  # type: ignore[attr-defined]
    assert codes == [None, "utf8_invalid", "text_empty", "mine", "field_invalid", None]
    assert answers[1]["id"] == "b"


def test_no_more_is_read_or_sent_than_needed(client: Callable[..., TasnifClient]) -> None:
    read = itertools.count()
    endless = ({"text": f"article {next(read)}"} for _ in itertools.count())
    with faulty(lambda n, _: "slow") as service:
        answers = client(service, concurrency=2).classify_many(endless)
        for _ in range(100):
            next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert next(read) <= 100 + 8 * 6
        assert len(service.asked) <= 16


def test_one_article_and_the_key(client: Callable[..., TasnifClient]) -> None:
    with faulty() as service:
        one = client(service, api_key="secret")
        verdict = one.classify("some text", targets=["tariffs", "the bank"])
        assert [stance["target"] for stance in verdict["stance"]] == ["tariffs", "the bank"]
        assert service.headers[0]["authorization"] == "Bearer secret"
        with pytest.raises(TasnifError, match="text is empty"):
            one.classify("")


def test_async() -> None:
    async def main(url: str) -> list[Any]:
        async with AsyncTasnifClient(url, batch=8) as client:
            await client.classify("alone")
            return [answer async for answer in client.classify_many(articles(50))]  # type: ignore[arg-type]

    with faulty() as service:
        check(asyncio.run(main(service.url)), 50)


def test_pandas(client: Callable[..., TasnifClient]) -> None:
    pandas = pytest.importorskip("pandas")
    df = pandas.DataFrame({"text": ["abcdef", None, "xyz"]}, index=[10, 20, 30])
    with faulty() as service:
        found = client(service).classify_series(df["text"], targets=["t"])
    assert list(found.index) == [10, 20, 30]
    assert list(found["error"].fillna("")) == ["", "text_empty", ""]
    assert found.loc[10, "topics"] == "politics|economy|sport"
    assert found.loc[30, "topic_politics"] == pytest.approx(0.3)
    assert str(found["topic_sport"].dtype) == "float64"
    assert df.join(found).loc[30, "stance"] == "favor"


def test_polars(client: Callable[..., TasnifClient]) -> None:
    polars = pytest.importorskip("polars")
    df = polars.DataFrame({"text": ["abcdef", None, "xyz"]})
    with faulty() as service:
        found = client(service).classify_series(df["text"])
        assert client(service).classify_series(df["text"].head(0)).height == 0
    assert found["error"].to_list() == [None, "text_empty", None]
    assert found["tokens"].to_list() == [6, None, 3]
    assert df.hstack(found).schema["topic_economy"] == polars.Float64
