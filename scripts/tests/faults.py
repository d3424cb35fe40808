"""A service that fails on purpose, on the loopback: alone, or as a proxy before a real one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
# What happens to the n-th request to classify, from 0: a name below, a reply, or "" for what the service says.
Plan = Callable[[int, list[dict[str, Any]]], "str | Reply"]

LABELS = ["politics", "economy", "sport"]


def error(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    return status, headers or {}, json.dumps({"error": {"code": code, "message": f"it is {code}"}}).encode()


FAULTS: dict[str, Reply] = {
    "busy": error(429, "overloaded", {"retry-after": "1"}),
    "not ready": error(503, "not_ready", {"retry-after": "1"}),
    "gateway": (502, {}, b"<html>bad gateway</html>"),
    "broken": (200, {}, b'{"verdicts": [{"id"'),
}
# Cuts the connection: before the request is read, instead of the answer, in the midst of it. Or lets it wait.
CUTS = ("refuse", "drop", "cut", "slow")


def verdict(article: dict[str, Any]) -> dict[str, Any]:
    """An answer that tells which text it is for."""
    text = article.get("text")
    given = {"id": article["id"]} if "id" in article else {}
    if not text:
        return given | {"error": {"code": "text_empty", "message": "text is empty", "param": "text"}}
    scores = [(len(text) + place) % 10 / 10 for place in range(len(LABELS))]
    return given | {
        "model": {"name": "stand-in", "version": "1"},
        "language": {"code": "en", "confidence": 0.5},
        "topics": [
            {"label": label, "score": score, "assigned": score > 0.4, "threshold": 0.4, "name": {}, "iptc": []}
            for label, score in zip(LABELS, scores, strict=True)
        ],
        "stance": [
            {
                "target": target,
                "label": "favor",
                "score": 0.7,
                "scores": {"favor": 0.7, "against": 0.1, "neutral": 0.1, "unrelated": 0.1},
            }
            for target in article.get("targets") or [None]
        ],
        "usage": {"tokens": len(text), "windows": 1, "truncated": False},
    }


class Faulty:
    """Serves until closed; `asked` has the articles of each request that was read."""

    def __init__(self, plan: Plan | None = None, upstream: int | None = None) -> None:
        self.plan = plan or (lambda n, articles: "")
        self.upstream = upstream
        self.asked: list[list[dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Also again, on the same port, after `stop`."""

        async def begin() -> None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=1 << 26)
            self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(10)

    def stop(self) -> None:
        """As if the process were killed: no connection outlives it."""

        async def end() -> None:
            self._server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        fault: str | Reply = ""
        if first.startswith("POST"):
            articles = json.loads(body)["articles"]
            self.asked.append(articles)
            self.headers.append(headers)
            fault = self.plan(len(self.asked) - 1, articles)
        if fault == "refuse":
            return False
        reply = FAULTS.get(fault) if isinstance(fault, str) else fault
        status, more, answer = reply or await self._answer(first, body)
        if fault == "drop":
            return False
        if fault == "slow":
            await asyncio.sleep(0.3)
        more = {"content-type": "application/json", "content-length": str(len(answer))} | more
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in more.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        writer.write(answer[: len(answer) // 2] if fault == "cut" else answer)
        await writer.drain()
        return fault != "cut"

    async def _answer(self, first: str, body: bytes) -> Reply:
        if self.upstream is not None:
            return await self._forward(first, body)
        if first.startswith("GET"):
            topics = [{"label": label} for label in LABELS]
            return 200, {}, json.dumps({"model": {"name": "stand-in", "version": "1"}, "topics": topics}).encode()
        verdicts = [verdict(article) for article in json.loads(body)["articles"]]
        return 200, {}, json.dumps({"verdicts": verdicts}).encode()

    async def _forward(self, first: str, body: bytes) -> Reply:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream, limit=1 << 26)
        except OSError:
            return FAULTS["gateway"]
        head = (
            f"{first}\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        )
        writer.write(head.encode() + b"\r\n\r\n" + body)
        answer = await reader.read()
        writer.close()
        head_bytes, _, rest = answer.partition(b"\r\n\r\n")
        if not head_bytes:
            raise ConnectionResetError
        return int(head_bytes.split()[1]), {}, rest


@contextlib.contextmanager
def faulty(plan: Plan | None = None, upstream: int | None = None) -> Iterator[Faulty]:
    service = Faulty(plan, upstream)
    try:
        yield service
    finally:
        service.close()
