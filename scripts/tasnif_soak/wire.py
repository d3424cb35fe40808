"""HTTP/1.1 on a bare socket: requests are bytes that lie ready, answers are cut into head and body and no further.

The client shares its processors with the service that it measures, so it does as little as it can.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from dataclasses import dataclass

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
LONGEST_HEAD = 64 << 10
# An idle connection is not used again after this; the service closes it after 75 s, and the two could cross.
FRESH = 30.0


@dataclass(frozen=True)
class Head:
    """The head of an answer, and when it was there."""

    status: int
    text: bytes
    at: float

    def length(self) -> int:
        """As announced; 0 where it isn't."""
        found = LENGTH.search(self.text)
        return int(found[1]) if found else 0


class Connection:
    """One connection; errors of the socket are OSError or asyncio.IncompleteReadError."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.used = time.monotonic()
        # Whether it served a request before.
        self.kept = False

    @classmethod
    async def open(cls, host: str, port: int, receive_buffer: int | None = None) -> Connection:
        """A small `receive_buffer` lets the service feel that its answer isn't taken."""
        if receive_buffer is None:
            return cls(*await asyncio.open_connection(host, port, limit=LONGEST_HEAD))
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            # What asyncio itself would take ahead is as little; a head fits.
            return cls(*await asyncio.open_connection(sock=sock, limit=2048))
        except BaseException:
            sock.close()
            raise

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> Head:
        text = await self.reader.readuntil(b"\r\n\r\n")
        return Head(int(text[9:12]), text, time.monotonic())

    async def body(self, head: Head) -> bytes:
        if LENGTH.search(head.text) is not None:
            return await self.reader.readexactly(head.length())
        if CHUNKED.search(head.text) is None:
            return await self.reader.read()
        parts = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            parts.append((await self.reader.readexactly(size + 2))[:-2])
        await self.reader.readuntil(b"\r\n")
        return b"".join(parts)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Leaves without a word."""
        self.writer.transport.abort()


class Pool:
    """Connections that are kept for the next request."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.idle: list[Connection] = []

    async def take(self) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if time.monotonic() - connection.used < FRESH and not connection.reader.at_eof():
                return connection
            connection.close()
        return await Connection.open(self.host, self.port)

    def give(self, connection: Connection, head: Head) -> None:
        if CLOSE.search(head.text) is not None:
            connection.close()
            return
        connection.used, connection.kept = time.monotonic(), True
        self.idle.append(connection)

    async def get(self, path: str) -> bytes:
        """The body of a GET on a connection of its own."""
        connection = await Connection.open(self.host, self.port)
        try:
            await connection.send(f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n\r\n".encode())
            head = await connection.head()
            body = await connection.body(head)
        finally:
            connection.close()
        if head.status != 200:
            raise OSError(f"GET {path}: {head.status} {body[:200]!r}")
        return body
