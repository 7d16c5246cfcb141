"""A visitor's connections: HTTP/1.1 by hand, kept alive and never retried, so that each loss is seen as one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

_LARGEST = 65536


class ProtocolError(Exception):
    """The answer is no HTTP/1.1 answer with a length."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Attempt:
    """How far a request came: kept by the caller, so that it knows after a failure."""

    phase: str = "connect"
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Door:
    """A point of presence that visitors come to, and its idle connections."""

    name: str
    address: str
    port: int
    domain: str
    trust: ssl.SSLContext | None  # None: without TLS
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]

    async def exchange(self, request: bytes, attempt: Attempt) -> Answer:
        """Send a request and read its answer. Raises OSError, EOFError or ProtocolError."""
        reader, writer = await self._connection(attempt)
        try:
            attempt.phase = "send"
            writer.write(request)
            await writer.drain()
            attempt.phase = "wait"
            head = await reader.readuntil(b"\r\n\r\n")
            attempt.phase = "read"
            status, headers = parse_head(head)
            answer = Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
        except BaseException:
            writer.transport.abort()
            raise
        if headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self.idle.append((reader, writer))
        return answer

    async def _connection(self, attempt: Attempt) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                attempt.reused = True
                return reader, writer
            writer.close()
        return await asyncio.open_connection(
            self.address,
            self.port,
            ssl=self.trust,
            server_hostname=self.domain if self.trust else None,
            limit=_LARGEST,
        )

    def close(self) -> None:
        for _, writer in self.idle:
            writer.transport.abort()
        self.idle.clear()


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers, which tell the body's length. Raises ProtocolError."""
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or words[0] != "HTTP/1.1" or not words[1].isdigit():
        raise ProtocolError(f"no status line: {first[:80]!r}")
    pairs = (line.partition(":") for line in rest if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if not headers.get("content-length", "").isdigit():
        raise ProtocolError(f"{first[:80]!r} without a content-length")
    return int(words[1]), headers
