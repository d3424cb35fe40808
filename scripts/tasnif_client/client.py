"""The client: batches, bounded concurrency, and patience with a service that is busy, restarts or loses connections."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, cast

import httpx
from anyio.from_thread import start_blocking_portal

from . import frame
from .types import Answer, Article, ErrorRecord, Fault, Options, TasnifError, Verdict, fault, is_error

log = logging.getLogger("tasnif")

DEFAULT_URL = "http://127.0.0.1:8080"
# Half of the service's default limit of a body.
BATCH_BYTES = 1 << 20
# Of a response: it will be another once the service has room, or is there again.
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
# Of the request as a whole, whatever articles are in it: no smaller request would fare better.
REFUSED = frozenset({401, 403, 404, 405, 415})
# Of one article in an answer that is otherwise good: the service began to stop, or was full, in its midst.
BUSY_CODES = frozenset({"overloaded", "shutting_down", "not_ready"})

Item = str | Article | ErrorRecord


class AsyncTasnifClient:
    """For asyncio.

    A request is repeated until `patience` seconds have passed since it was first sent: after 429 and 503 not before
    the service's Retry-After, else with a wait that doubles up to `longest_wait` seconds, of which a random part is
    taken, so that many clients don't come back at once. Repeating is safe, since classifying changes nothing.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        batch: int = 32,
        concurrency: int = 4,
        timeout: float = 300.0,
        patience: float = 600.0,
        longest_wait: float = 30.0,
    ) -> None:
        self.batch = batch
        self.patience = patience
        self.longest_wait = longest_wait
        self._sending = asyncio.Semaphore(concurrency)
        # The next batches are ready while the oldest one is waited for.
        self._ahead = 2 * concurrency
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout,
            limits=httpx.Limits(max_connections=concurrency),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def classify(self, article: str | Article, **options: Any) -> Verdict:
        """One article; raises TasnifError where it can't be read. Options as in types.Options."""
        (answer,) = await self._ask([_encode(article, cast(Options, options))], options)
        if is_error(answer):
            raise TasnifError(answer["error"]["message"], answer["error"]["code"], 422)
        return answer

    async def classify_many(self, articles: Iterable[Item], **options: Any) -> AsyncGenerator[Answer, None]:
        """A verdict or an error record an article, in order, as they come; the articles are read as they are needed.

        An item that is an error record already keeps its place. Raises TasnifError where the service gives no answer
        for longer than `patience`, or refuses what is asked of all articles.
        """
        async with contextlib.aclosing(self._batches(articles, cast(Options, options))) as batches:
            async for answers in batches:
                for answer in answers:
                    yield answer

    async def topics(self, model: str | None = None) -> tuple[str, list[str]]:
        """The model's `name@version`, and its labels."""
        answer = await self._request("GET", "/v1/topics", params={"model": model} if model else {})
        ref = answer["model"]
        return f"{ref['name']}@{ref['version']}", [topic["label"] for topic in answer["topics"]]

    async def _batches(self, articles: Iterable[Item], options: Options) -> AsyncGenerator[list[Answer], None]:
        running: deque[asyncio.Task[list[Answer]]] = deque()
        try:
            for batch in _batched((_encode(article, options) for article in articles), self.batch):
                running.append(asyncio.create_task(self._send(batch, options)))
                if len(running) > self._ahead:
                    yield await running.popleft()
            while running:
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()

    async def _send(self, batch: list[bytes | ErrorRecord], options: Options) -> list[Answer]:
        async with self._sending:
            return await self._ask(batch, options)

    async def _ask(self, batch: list[bytes | ErrorRecord], options: Any) -> list[Answer]:
        """One answer an item. Articles that the service had no room for are asked again, and they alone."""
        answers: list[Answer | None] = [None if isinstance(item, bytes) else item for item in batch]
        backoff = self._backoff()
        while missing := [place for place, answer in enumerate(answers) if answer is None]:
            got = await self._post([cast(bytes, batch[place]) for place in missing])
            for place, answer in zip(missing, got, strict=True):
                if not is_error(answer):
                    answers[place] = answer
                    continue
                error = answer["error"]
                # What is wrong with an option is wrong with all articles.
                if error.get("param", "").split("[")[0] in options:
                    raise TasnifError(f"{error['message']} ({error['code']})", error["code"], 422)
                if error["code"] not in BUSY_CODES:
                    answers[place] = answer
            if None in answers:
                await backoff.wait("some articles found no room", None)
        return cast(list[Answer], answers)

    async def _post(self, articles: list[bytes]) -> list[Answer]:
        """A batch that is refused for what is in it is halved, until the article at fault stands alone."""
        body = b'{"articles":[' + b",".join(articles) + b"]}"
        try:
            answer = await self._request(
                "POST", "/v1/classify", content=body, headers={"content-type": "application/json"}
            )
        except TasnifError as error:
            if not 400 <= error.status < 500 or error.status in REFUSED:
                raise
            if len(articles) == 1:
                record = ErrorRecord(error=fault(error.code, str(error)))
                if (name := json.loads(articles[0]).get("id")) is not None:
                    record["id"] = name
                return [record]
            half = len(articles) // 2
            return await self._post(articles[:half]) + await self._post(articles[half:])
        verdicts = answer.get("verdicts")
        if not isinstance(verdicts, list) or len(verdicts) != len(articles):
            raise TasnifError(f"{self._http.base_url} doesn't answer as tasnif does: is it another service?")
        return cast(list[Answer], verdicts)

    async def _request(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answer's JSON, after as many attempts as it takes."""
        backoff = self._backoff()
        while True:
            retry_after = None
            try:
                response = await self._http.request(method, path, **request)
                if response.status_code == 200:
                    return cast(dict[str, Any], _object(response))
                problem = _fault(response)
                if response.status_code not in BUSY:
                    raise TasnifError(f"{problem['message']}", problem["code"], response.status_code)
                reason = f"{response.status_code} {problem['message']}"
                retry_after = _retry_after(response.headers.get("retry-after"))
            except httpx.UnsupportedProtocol as error:
                raise TasnifError(f"{self._http.base_url} is no address; give one like {DEFAULT_URL}") from error
            except (httpx.TransportError, httpx.DecodingError, json.JSONDecodeError) as error:
                reason = f"{type(error).__name__}: {error}"
            await backoff.wait(reason, retry_after)

    def _backoff(self) -> _Backoff:
        return _Backoff(str(self._http.base_url), self.patience, self.longest_wait)


class TasnifClient:
    """The same without asyncio; it works in notebooks and threads too, since its loop runs in a thread of its own."""

    def __init__(self, url: str = DEFAULT_URL, **settings: Any) -> None:
        """Settings as of AsyncTasnifClient."""
        self._stack = contextlib.ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._client = self._portal.call(lambda: AsyncTasnifClient(url, **settings))
        self._stack.callback(self._portal.call, self._client.__aexit__, None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def classify(self, article: str | Article, **options: Any) -> Verdict:
        """See AsyncTasnifClient.classify."""
        return self._portal.call(lambda: self._client.classify(article, **options))

    def classify_many(self, articles: Iterable[Item], **options: Any) -> Generator[Answer, None, None]:
        """See AsyncTasnifClient.classify_many."""
        batches = self._client._batches(articles, cast(Options, options))
        try:
            while (answers := self._portal.call(_next, batches)) is not None:
                yield from answers
        finally:
            self._portal.call(batches.aclose)

    def classify_series(self, series: Any, **options: Any) -> Any:
        """A data frame for a column of texts, pandas or polars as the column is: a row a text, a column a score.

        The columns are those of `tasnif score`'s tables; a text that can't be read has its reason in `error`.
        """
        _, labels = self.topics(options.get("model"))
        texts: Iterator[Item] = ({"text": text if isinstance(text, str) else None} for text in series)
        return frame.like(series, self.classify_many(texts, **options), labels, options)

    def topics(self, model: str | None = None) -> tuple[str, list[str]]:
        """See AsyncTasnifClient.topics."""
        return self._portal.call(self._client.topics, model)


async def _next(batches: AsyncIterator[list[Answer]]) -> list[Answer] | None:
    return await anext(batches, None)


class _Backoff:
    """Waits between attempts, and the end of patience."""

    def __init__(self, url: str, patience: float, longest: float) -> None:
        self.url = url
        self.begun = time.monotonic()
        self.patience = patience
        self.longest = longest
        self.step = 0.5

    async def wait(self, reason: str, retry_after: float | None) -> None:
        # Never less than half of the step, so that a service that is down isn't asked in a tight loop.
        jitter = self.step * random.uniform(0.5, 1.0)
        wait = jitter if retry_after is None else retry_after + jitter / 2
        if time.monotonic() + wait > self.begun + self.patience:
            raise TasnifError(f"{self.url}: no answer in {self.patience:.0f} s; the last attempt: {reason}")
        log.warning("%s: %s; again in %.1f s", self.url, reason, wait)
        self.step = min(self.step * 2, self.longest)
        await asyncio.sleep(wait)


def _encode(article: Item, options: Options) -> bytes | ErrorRecord:
    """The article as it is sent, or why it can't be."""
    if isinstance(article, str):
        article = {"text": article}
    if "error" in article:
        return cast(ErrorRecord, article)
    given = {key: value for key, value in article.items() if value is not None}
    try:
        return json.dumps({**options, **given}, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        problem = fault("utf8_invalid", "half of a surrogate pair, which no Unicode text has")
    except (TypeError, ValueError) as error:
        problem = fault("field_invalid", str(error))
    record = ErrorRecord(error=problem)
    if isinstance(name := given.get("id"), str):
        record["id"] = name
    return record


def _batched(items: Iterable[bytes | ErrorRecord], most: int) -> Iterator[list[bytes | ErrorRecord]]:
    """At most so many items, and no more bytes than a request may have unless one article has them alone."""
    batch: list[bytes | ErrorRecord] = []
    size = 0
    for item in items:
        more = len(item) if isinstance(item, bytes) else 0
        if batch and (len(batch) == most or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += more
    if batch:
        yield batch


def _object(response: httpx.Response) -> Any:
    return json.loads(response.content)


def _fault(response: httpx.Response) -> Fault:
    """The error object of an answer; a proxy between may have written another."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        error = _object(response)["error"]
        return Fault(code=error["code"], message=error["message"])
    return Fault(code="unknown", message=f"{response.reason_phrase}: {response.text[:200]}")


def _retry_after(value: str | None) -> float | None:
    """Seconds, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
