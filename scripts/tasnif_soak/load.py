"""Clients of all manners, as many at once as it takes: a closed loop that saturates, an open one that doesn't wait."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

from .figures import SLACK, Tally
from .mix import Deck, Manner, Request
from .wire import Connection, Head, Pool

# A slow sender's pace: a short article takes it some ten seconds.
BYTE_EVERY = 0.03
SIP, SIP_EVERY = 256, 0.05
RECEIVE_BUFFER = 2048
# How long after its deadline an answer is still waited for, to tell a late one from a lost one.
LOST_AFTER = 30.0
# More connections than this are a sign that the service answers nothing.
MOST_CLIENTS = 4000
REFUSED = (429, 503)
Broken = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)


class Clients:
    """Sends requests as their clients would, and tallies what comes of them."""

    def __init__(self, pool: Pool, deadline: float, seed: int) -> None:
        self.pool = pool
        # The service's own, for requests that ask for none.
        self.deadline = deadline
        self.rng = random.Random(seed)

    async def ask(self, request: Request, tally: Tally) -> int | None:
        """The status of the answer, if there was one."""
        deadline = request.deadline or self.deadline
        begun = time.monotonic()
        try:
            async with asyncio.timeout(deadline + LOST_AFTER):
                match request.manner:
                    case Manner.PLAIN:
                        return await self.plain(request, tally, begun)
                    case Manner.STREAM:
                        return await self.stream(request, tally, begun)
                    case Manner.SLOW_SEND | Manner.SLOW_READ:
                        return await self.slow(request, tally, begun)
                    case Manner.LEAVE | Manner.LEAVE_STREAM:
                        await self.leave(request, tally)
        except (*Broken, TimeoutError) as error:
            tally.outcomes[request.kind, "lost"] += 1
            tally.is_odd(f"{request.kind}: no whole answer: {error!r} after {time.monotonic() - begun:.1f} s")
        return None

    async def plain(self, request: Request, tally: Tally, begun: float) -> int:
        connection, head = await self.first(request)
        try:
            body = await connection.body(head)
        except BaseException:
            connection.reset()
            raise
        self.answered(request, tally, head, body, begun, begun)
        self.pool.give(connection, head)
        return head.status

    async def first(self, request: Request) -> tuple[Connection, Head]:
        """Sends, on a kept connection if there is one: the service may close that at the same time."""
        while True:
            connection = await self.pool.take()
            kept = connection.kept
            try:
                await connection.send(request.data)
                return connection, await connection.head()
            except (ConnectionError, asyncio.IncompleteReadError):
                connection.reset()
                if not kept:
                    raise
            except BaseException:
                connection.reset()
                raise

    async def stream(self, request: Request, tally: Tally, begun: float) -> int:
        connection = await Connection.open(self.pool.host, self.pool.port)
        try:
            await connection.send(request.data)
            sending = asyncio.create_task(self.send_pieces(connection, request))
            try:
                head = await connection.head()
                body = await connection.body(head)
            finally:
                sending.cancel()
            self.answered(request, tally, head, body, begun, begun)
            return head.status
        finally:
            connection.close()

    @staticmethod
    async def send_pieces(connection: Connection, request: Request) -> None:
        # A stream that is refused is closed under the sender; the answer tells.
        with contextlib.suppress(ConnectionError):
            for piece in request.pieces:
                await connection.send(piece)
                await asyncio.sleep(0.02)

    async def slow(self, request: Request, tally: Tally, begun: float) -> int:
        sips = request.manner is Manner.SLOW_READ
        connection = await Connection.open(self.pool.host, self.pool.port, RECEIVE_BUFFER if sips else None)
        try:
            if sips:
                await connection.send(request.data)
            else:
                for byte in request.data:
                    await connection.send(bytes([byte]))
                    await asyncio.sleep(BYTE_EVERY)
            sent = time.monotonic()
            head = await connection.head()
            body = await (self.sip(connection, head) if sips else connection.body(head))
            self.answered(request, tally, head, body, begun if sips else sent, begun)
            return head.status
        finally:
            connection.close()

    @staticmethod
    async def sip(connection: Connection, head: Head) -> bytes:
        length = head.length()
        parts: list[bytes] = []
        while (left := length - sum(map(len, parts))) > 0:
            part = await connection.reader.read(min(SIP, left))
            if not part:
                raise asyncio.IncompleteReadError(b"".join(parts), length)
            parts.append(part)
            await asyncio.sleep(SIP_EVERY)
        return b"".join(parts)

    async def leave(self, request: Request, tally: Tally) -> None:
        connection = await Connection.open(self.pool.host, self.pool.port)
        # A stream that is refused is closed under the sender.
        with contextlib.suppress(ConnectionError):
            for piece in (request.data, *request.pieces[: len(request.pieces) // 2]):
                await connection.send(piece)
        await asyncio.sleep(self.rng.uniform(0.001, 3.0))
        connection.reset()
        tally.outcomes[request.kind, "left"] += 1

    def answered(self, request: Request, tally: Tally, head: Head, body: bytes, sent: float, begun: float) -> None:
        """`sent` is when the request's last piece was on its way, as far as that matters for the time to refuse."""
        now = time.monotonic()
        status = head.status
        # With next to no room for it, an answer waits for the client's own system.
        if (400 <= status < 500 or status in REFUSED) and request.manner is not Manner.SLOW_READ:
            tally.refusals[request.kind].append(head.at - sent)
        errors = tally.body(body, now) if status == 200 else None
        late = status == 504 or bool(errors and errors["deadline_exceeded"])
        if status == 200 and request.manner in (Manner.PLAIN, Manner.SLOW_SEND):
            tally.answers.append(now - sent)
            late |= now - sent > (request.deadline or self.deadline) + SLACK
        tally.outcomes[request.kind, "late" if late else str(status)] += 1
        expected = status in request.expected or status in REFUSED or late
        if not expected or (errors and set(errors) - {"deadline_exceeded"}):
            wanted = "/".join(map(str, sorted(request.expected)))
            tally.is_odd(f"{request.kind}: {status} where {wanted} was expected: {body[:160]!r}")


async def closed(clients: Clients, deck: Deck, concurrency: int, seconds: float) -> Tally:
    """Each client asks again as soon as it has its answer."""
    tally = Tally(time.monotonic())
    end = tally.begun + seconds

    async def one() -> None:
        while time.monotonic() < end:
            status = await clients.ask(deck.draw(), tally)
            if status in REFUSED:
                await asyncio.sleep(0.2)

    loops = [asyncio.create_task(one()) for _ in range(concurrency)]
    await asyncio.sleep(seconds)
    # What is under way at the end is beside the rate, but waited for: the next phase starts from nothing.
    await asyncio.gather(*loops)
    return tally


async def opened(clients: Clients, deck: Deck, rate: float, seconds: float, started: Callable[[Tally], None]) -> Tally:
    """Requests come at random (Poisson), `rate` a second, whatever became of those before."""
    tally = Tally(time.monotonic())
    started(tally)
    rng = random.Random(clients.rng.random())
    under_way: set[asyncio.Task[int | None]] = set()
    due = tally.begun
    while (due := due + rng.expovariate(rate)) < tally.begun + seconds:
        if (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left)
        tally.lateness.append(max(time.monotonic() - due, 0.0))
        request = deck.draw()
        if len(under_way) >= MOST_CLIENTS:
            tally.is_odd(f"{request.kind}: not sent, {MOST_CLIENTS} clients wait already")
            continue
        task = asyncio.create_task(clients.ask(request, tally))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    # All that was accepted is waited for.
    await asyncio.gather(*under_way)
    return tally
