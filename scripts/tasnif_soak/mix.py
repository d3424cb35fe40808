"""What the clients send: requests of all sizes, and of all kinds of wrong, ready to be written to a socket."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

CLASSIFY = "/v1/classify"
JSON = "application/json"
NDJSON = "application/x-ndjson"


class Manner(Enum):
    """How a client behaves."""

    PLAIN = "sends at once and reads at once"
    STREAM = "sends lines and reads answers meanwhile"
    SLOW_SEND = "sends a byte at a time"
    SLOW_READ = "takes its answer in sips"
    LEAVE = "leaves before it has an answer"
    LEAVE_STREAM = "leaves amid a stream"


@dataclass(frozen=True)
class Request:
    """A request as bytes, and what to expect of it."""

    kind: str
    data: bytes
    manner: Manner = Manner.PLAIN
    expected: frozenset[int] = frozenset({200})
    # Seconds, where it asks for a deadline of its own.
    deadline: float | None = None
    # What is sent behind `data`, piece by piece: the chunks of a stream.
    pieces: tuple[bytes, ...] = ()


def head(host: str, *headers: str, method: str = "POST", path: str = CLASSIFY) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


def post(host: str, body: bytes, *headers: str, media: str = JSON, path: str = CLASSIFY) -> bytes:
    return head(host, f"Content-Type: {media}", f"Content-Length: {len(body)}", *headers, path=path) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


class Texts:
    """Texts of any length, out of given ones."""

    def __init__(self, texts: Sequence[str], rng: random.Random) -> None:
        if not texts:
            raise ValueError("there is no text to make articles of")
        self.texts = texts
        self.rng = rng

    def of(self, characters: int) -> str:
        parts: list[str] = []
        length = 0
        while length < characters:
            parts.append(self.rng.choice(self.texts))
            length += len(parts[-1]) + 1
        return "\n".join(parts)[:characters].strip() or "—"

    def article(self) -> dict[str, Any]:
        return {"text": self.of(self.rng.randint(800, 3000))}

    def posts(self, count: int) -> list[dict[str, Any]]:
        return [{"id": str(number), "text": self.of(self.rng.randint(60, 400))} for number in range(count)]


TARGETS = ["البنك المركزي", "the government"]

# Requests of a kind in a hundred. Long articles are few and yet most of the tokens, as in the news.
ORDINARY = {
    "post": 38,
    "article": 26,
    "long article": 5,
    "very long article": 1,
    "evidence": 8,
    "targets": 6,
    "labels": 6,
    "many": 5,
    "stream": 5,
}
# Beside a hundred of those. `malformed` takes the kinds of wrong in turn.
TRYING = {
    "urgent": 4,
    "deadline": 4,
    "leaves": 6,
    "leaves a stream": 2,
    "slow sender": 3,
    "slow reader": 2,
    "malformed": 12,
}


def ordinary(kind: str, host: str, texts: Texts) -> Request:
    """One request of a well-behaved client."""
    match kind:
        case "post":
            return Request(kind, post(host, encoded(texts.posts(1)[0])))
        case "article":
            return Request(kind, post(host, encoded(texts.article())))
        case "long article":
            return Request(kind, post(host, encoded({"text": texts.of(12_000)})))
        case "very long article":
            return Request(kind, post(host, encoded({"text": texts.of(60_000)})))
        case "evidence":
            return Request(kind, post(host, encoded(texts.article() | {"title": texts.of(70), "evidence": True})))
        case "targets":
            return Request(kind, post(host, encoded(texts.article() | {"targets": TARGETS})))
        case "labels":
            labels = ["monetary policy", "football", "صحة عامة"]
            return Request(kind, post(host, encoded(texts.posts(1)[0] | {"labels": labels, "tasks": ["topics"]})))
        case "many":
            return Request(kind, post(host, encoded({"articles": [*texts.posts(6), texts.article()]})))
        case "stream":
            return stream(kind, host, texts, Manner.STREAM)
    raise ValueError(kind)


def stream(kind: str, host: str, texts: Texts, manner: Manner) -> Request:
    lines = [encoded(article) + b"\n" for article in [*texts.posts(14), texts.article(), texts.article()]]
    data = head(host, f"Content-Type: {NDJSON}", "Transfer-Encoding: chunked")
    # Cut where it falls, as networks do.
    text = b"".join(lines)
    pieces = [chunk(text[begin : begin + 1500]) for begin in range(0, len(text), 1500)]
    return Request(kind, data, manner, pieces=(*pieces, chunk(b"")))


def trying(kind: str, host: str, texts: Texts) -> list[Request]:
    """Requests of a client that is in a hurry, slow, gone or wrong."""
    article = encoded(texts.posts(1)[0])
    match kind:
        case "urgent":
            return [timed(kind, host, encoded(texts.article()), 1.0)]
        case "deadline":
            return [timed(kind, host, encoded(texts.article()), 30.0)]
        case "leaves":
            return [Request(kind, post(host, encoded(texts.article())), Manner.LEAVE)]
        case "leaves a stream":
            return [stream(kind, host, texts, Manner.LEAVE_STREAM)]
        case "slow sender":
            return [Request(kind, post(host, article), Manner.SLOW_SEND)]
        case "slow reader":
            body = encoded({"articles": [post | {"evidence": True} for post in texts.posts(8)]})
            return [Request(kind, post(host, body), Manner.SLOW_READ)]
        case "malformed":
            return malformed(host)
    raise ValueError(kind)


def timed(kind: str, host: str, body: bytes, seconds: float) -> Request:
    data = post(host, body, f"X-Request-Timeout-Ms: {round(seconds * 1000)}")
    return Request(kind, data, deadline=seconds)


def malformed(host: str) -> list[Request]:
    """All kinds of wrong, each with the status that it deserves."""
    article = encoded({"text": "The central bank held its rates."})
    bodies: list[tuple[str, int, bytes]] = [
        ("empty body", 400, b""),
        ("cut JSON", 400, article[:-4]),
        ("no JSON", 400, b"text=The+central+bank"),
        ("not UTF-8", 400, b'{"text": "\xff\xfe"}'),
        ("half a surrogate pair", 400, rb'{"text": "\ud83d"}'),
        ("deep nesting", 400, b"[" * 100_000),
        ("deep nesting in a field", 400, b'{"text":' * 5_000),
        ("two values", 400, article + article),
        ("number too large", 400, b'{"text": "a", "top_k": 1e999}'),
        ("not an object", 422, b'["text"]'),
        ("null", 422, b"null"),
        ("no text", 422, b'{"title": "a"}'),
        ("empty text", 422, encoded({"text": " \n"})),
        ("text is a number", 422, encoded({"text": 7})),
        ("unknown field", 422, encoded({"text": "a", "texts": []})),
        ("top_k of 0", 422, encoded({"text": "a", "top_k": 0})),
        ("negative threshold", 422, encoded({"text": "a", "threshold": -1})),
        ("17 targets", 422, encoded({"text": "a", "targets": [str(n) for n in range(17)]})),
        ("65 labels", 422, encoded({"text": "a", "labels": [str(n) for n in range(65)]})),
        ("long id", 422, encoded({"text": "a", "id": "i" * 600})),
        ("unknown task", 422, encoded({"text": "a", "tasks": ["poetry"]})),
        ("unknown model", 404, encoded({"text": "a", "model": "nobody"})),
        ("no articles", 422, encoded({"articles": []})),
        ("articles and more", 422, encoded({"articles": [{"text": "a"}], "text": "b"})),
        ("100,000 articles", 422, encoded({"articles": [{}] * 100_000})),
    ]
    requests: list[tuple[str, int, bytes]] = [
        ("form", 415, post(host, b"text=a", media="application/x-www-form-urlencoded")),
        ("XML", 415, post(host, b"<text>a</text>", media="text/xml; charset=utf-8")),
        ("3 MB announced", 413, head(host, f"Content-Type: {JSON}", "Content-Length: 3000000")),
        ("deadline in words", 400, post(host, article, "X-Request-Timeout-Ms: soon")),
        ("deadline of 0", 400, post(host, article, "X-Request-Timeout-Ms: 0")),
        ("unknown route", 404, post(host, article, path="/v1/clasify")),
        ("GET", 405, head(host, method="GET")),
        ("query", 400, head(host, method="GET", path="/v1/topics?nothing=1")),
        ("head of 40 kB", 431, head(host, f"X-Long: {'x' * 40_000}", "Content-Length: 0")),
        ("no HTTP", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("two lengths", 400, head(host, "Content-Length: 5", "Content-Length: 6")),
        ("length in words", 400, head(host, "Content-Length: five")),
        (
            "broken chunk",
            400,
            head(host, f"Content-Type: {JSON}", "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
        ),
        ("no admin", 404, post(host, b"{}", path="/v1/admin/models/../../etc")),
    ]
    requests += [(name, status, post(host, body)) for name, status, body in bodies]
    # A full queue is told before a body is looked into.
    return [Request(f"malformed: {name}", data, expected=frozenset({status, 429})) for name, status, data in requests]


class Deck:
    """Requests in a random order that keeps their proportions: after each round every card was drawn once."""

    def __init__(self, cards: dict[str, int], pools: dict[str, list[Request]], rng: random.Random) -> None:
        self.pools = {kind: self._again(pools[kind]) for kind in cards}
        self.kinds = [kind for kind, count in cards.items() for _ in range(count)]
        self.rng = rng
        self.left: list[str] = []

    @staticmethod
    def _again(pool: list[Request]) -> Iterator[Request]:
        while True:
            yield from pool

    def draw(self) -> Request:
        if not self.left:
            self.left = self.rng.sample(self.kinds, len(self.kinds))
        return next(self.pools[self.left.pop()])


def decks(texts: Sequence[str], host: str, seed: int, variants: int = 24) -> tuple[Deck, Deck]:
    """What saturates, and that with the trying clients among it."""
    rng = random.Random(seed)
    source = Texts(texts, rng)
    pools = {kind: [ordinary(kind, host, source) for _ in range(variants)] for kind in ORDINARY}
    pools |= {kind: [one for _ in range(variants) for one in trying(kind, host, source)] for kind in TRYING}
    pools["malformed"] = rng.sample(malformed(host), len(malformed(host)))
    return Deck(ORDINARY, pools, rng), Deck(ORDINARY | TRYING, pools, rng)
