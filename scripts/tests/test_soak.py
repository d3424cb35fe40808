"""The soak's arithmetic, and its clients against a server that answers as told."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from typing import Any

import pytest

from tasnif_soak import figures, load, mix
from tasnif_soak.figures import Memory, Tally, checks, percentile
from tasnif_soak.mix import ORDINARY, TRYING, Manner, Request
from tasnif_soak.wire import Pool

ANSWER = b'{"topics":[],"usage":{"tokens":33,"windows":1}}'


def test_a_percentile_is_a_value_that_was_there() -> None:
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(range(100), 0.99) == 99
    assert percentile([7], 0.99) == 7
    assert math.isnan(percentile([], 0.5))


def test_metrics_are_summed_over_their_labels() -> None:
    text = '# HELP a b\na_total{route="/x",status="200"} 3\na_total{route="/y",status="404"} 4\nb 5.5e3\n# EOF\n'
    assert figures.metrics(text) == {"a_total": 7, "b": 5500}


def test_articles_of_an_answer_are_counted() -> None:
    tally = Tally(begun=100.0)
    body = b'{"verdicts":[' + ANSWER + b',{"error":{"code":"deadline_exceeded","message":""}},' + ANSWER + b"]}"
    assert tally.body(body, 101.5) == {"deadline_exceeded": 1}
    tally.body(ANSWER, 103.0)
    assert (tally.articles, tally.tokens) == ({1: 2, 3: 1}, {1: 66, 3: 33})
    assert tally.rate(tally.tokens, 0, 3) == 22
    assert tally.errors == {"deadline_exceeded": 1}


def test_memory_counts_from_the_warm_up_on() -> None:
    rising = Memory([(second, 1e8 + 1e5 * min(second, 300)) for second in range(0, 1801, 10)])
    assert rising.growth() == pytest.approx(0)
    assert rising.slope() == pytest.approx(0)
    leaking = Memory([(second, 1e8 + 1e4 * second) for second in range(0, 1801, 10)])
    assert leaking.slope() == pytest.approx(3600 * 1e4)
    assert leaking.growth() == pytest.approx(0.117, abs=0.01)
    # Of a short run the second half.
    assert [time for time, _ in Memory([(0, 1), (10, 2), (20, 3)]).settled()] == [10, 20]
    assert math.isnan(Memory([]).growth())


def record() -> dict[str, Any]:
    return {
        "failures": [],
        "memory": {"growth": 0.01, "slope_mb_h": 1.0, "max_mb": 400.0},
        "overload": {
            "goodput": {"articles": 0.8, "tokens": 0.95, "encoded tokens": 0.95},
            "late": 0,
            "lost": 0,
            "accepted": 10,
        },
        "refusals": {"count": 5, "p50_ms": 1.0, "p99_ms": 9.0},
        "oddities": 0,
    }


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("failures", ["10 s: /metrics"]),
        ("memory", {"growth": 0.06}),
        ("memory", {"growth": float("nan")}),
        ("overload", {"late": 1}),
        ("overload", {"lost": 1}),
        ("overload", {"accepted": 0}),
        ("overload", {"goodput": {"articles": 1.2, "tokens": 0.89, "encoded tokens": 1}}),
        ("refusals", {"p99_ms": 10.0}),
        ("refusals", {"p99_ms": float("nan")}),
        ("oddities", 1),
    ],
)
def test_each_check_fails_alone(part: str, change: Any) -> None:
    assert all(check.met for check in checks(record()))
    changed = record()
    changed[part] = changed[part] | change if isinstance(change, dict) else change
    assert [check.met for check in checks(changed)].count(False) == 1


def test_a_deck_keeps_its_proportions_and_has_all_that_is_malformed() -> None:
    ordinary, trying = mix.decks(["The bank held its rates.", "لا شيء"], "localhost:1", seed=1)
    cards = sum(ORDINARY.values()) + sum(TRYING.values())
    drawn = [trying.draw() for _ in range(5 * cards)]
    kinds = Counter(request.kind.split(":")[0] for request in drawn)
    assert kinds == {kind: 5 * count for kind, count in (ORDINARY | TRYING).items()}
    assert len({request.kind for request in drawn if ":" in request.kind}) == len(mix.malformed("localhost:1")) > 30
    assert {ordinary.draw().kind for _ in range(100)} == set(ORDINARY)
    assert {request.manner for request in drawn} == set(Manner)


class Server:
    """Answers each request by what it was told to, in turn."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")]
                await reader.readexactly(sum(length))
                reply = self.replies.pop(0) if self.replies else b""
                writer.write(reply)
                await writer.drain()
                if not reply or b"connection: close" in reply:
                    break
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


def answer(status: int, body: bytes = ANSWER, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d -" % status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


CHUNKED = b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n" + mix.chunk(ANSWER + b"\n") + mix.chunk(b"")


def ask(requests: list[Request], *replies: bytes) -> Tally:
    async def run() -> Tally:
        server = await asyncio.start_server(Server(*replies), "127.0.0.1", 0)
        async with server:
            clients = load.Clients(Pool("127.0.0.1", server.sockets[0].getsockname()[1]), deadline=5, seed=1)
            tally = Tally(time.monotonic())
            for request in requests:
                await clients.ask(request, tally)
            return tally

    return asyncio.run(run())


def plain(manner: Manner = Manner.PLAIN, expected: int = 200) -> Request:
    return Request("one", mix.post("h", b"{}"), manner, frozenset({expected}))


@pytest.mark.parametrize(
    ("request_", "reply", "outcome", "odd"),
    [
        (plain(), answer(200), "200", 0),
        (plain(), CHUNKED, "200", 0),
        (plain(Manner.SLOW_READ), answer(200, ANSWER * 20), "200", 0),
        (plain(), answer(429, b"{}"), "429", 0),
        (plain(), answer(503, b"{}"), "503", 0),
        (plain(), answer(504, b"{}"), "late", 0),
        (plain(), answer(200, b'{"error":{"code":"deadline_exceeded"}}'), "late", 0),
        (plain(), answer(200, b'{"error":{"code":"internal"}}'), "200", 1),
        (plain(), answer(500, b"{}"), "500", 1),
        (plain(expected=422), answer(400, b"{}"), "400", 1),
        (plain(expected=422), answer(422, b"{}"), "422", 0),
        (plain(), answer(200)[:-3] + b"", "lost", 1),
        (plain(), b"", "lost", 1),
        (plain(Manner.LEAVE), b"", "left", 0),
    ],
)
def test_what_becomes_of_a_request(request_: Request, reply: bytes, outcome: str, odd: int) -> None:
    if outcome == "lost" and reply:
        reply = reply.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
    tally = ask([request_], reply)
    assert tally.outcomes == {("one", outcome): 1}
    assert tally.oddities == odd
    assert len(tally.refused()) == (outcome in {"429", "503", "400", "422"})
    assert sum(tally.articles.values()) == (20 if request_.manner is Manner.SLOW_READ else "usage" in str(reply)) or odd


def test_a_connection_is_kept_unless_it_is_closed() -> None:
    """The second request finds its connection closed by the server, and is asked again on a new one."""
    tally = ask([plain()] * 3, answer(200), b"", answer(200, ANSWER, b"connection: close"), answer(200))
    assert tally.outcomes == {("one", "200"): 3}
