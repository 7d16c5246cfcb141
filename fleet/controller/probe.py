"""How members say they are: their own status and readiness, asked over the private network, all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

from fleet.controller.model import Fence, Health
from fleet.reading import ConfigError, decode_object

PORT: Final = 8101
STATUS: Final = "/status"
READY: Final = "/ready"
SECONDS: Final = 2.0
AT_ONCE: Final = 400
MOST_BYTES: Final = 64 * 1024
# A watcher writes several times a second; an older status tells that it is gone: fleet/machine/fence_status.py
FRESH_SECONDS: Final = 5.0

SILENT: Final = Health(answered=False)


class Prober(Protocol):
    """Asks members how they are."""

    async def ask(self, members: Mapping[int, str]) -> dict[int, Health]:
        """The health of each, by droplet; `members` are private addresses."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NetworkProber:
    """Over HTTP, as the members' own peers ask."""

    async def ask(self, members: Mapping[int, str]) -> dict[int, Health]:
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(address: str) -> Health:
            async with limit:
                return await probe(address)

        found = await asyncio.gather(*(one(address) for address in members.values()))
        return dict(zip(members, found, strict=True))


async def probe(address: str, port: int = PORT) -> Health:
    """Both questions at once; what does not come within SECONDS is an answer too."""
    status, ready = await asyncio.gather(get(address, port, STATUS), get(address, port, READY))
    return health(status, ready)


async def get(address: str, port: int, path: str) -> Reply | None:
    """One GET; None when no whole answer comes in time."""
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(address, port, limit=MOST_BYTES)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
                return _parsed(await _whole(reader))
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None


async def _whole(reader: asyncio.StreamReader) -> bytes:
    """Everything until the other side closes; a member that says more than MOST_BYTES is not believed."""
    parts: list[bytes] = []
    size = 0
    while part := await reader.read(MOST_BYTES):
        size += len(part)
        if size > MOST_BYTES:
            raise ValueError("the answer has no end")
        parts.append(part)
    return b"".join(parts)


def _parsed(answer: bytes) -> Reply:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    protocol, _, rest = lines[0].partition(" ")
    if not protocol.startswith("HTTP/1."):
        raise ValueError("not an HTTP answer")
    fields = (line.partition(":") for line in lines[1:])
    return Reply(int(rest[:3]), {name.lower(): value.strip() for name, _, value in fields}, body)


def health(status: Reply | None, ready: Reply | None) -> Health:
    """What the two answers mean."""
    if status is None:
        return SILENT
    able = None if ready is None else ready.status == 200
    if status.status != 200 or not _fresh(status.headers):
        return Health(answered=True, reason="nobody watches its fence", ready=able)
    try:
        document = decode_object("status", status.body)
        recent = document["recent"]
        return Health(
            answered=True,
            fence=Fence(document["state"]),
            reason=str(document["reason"])[:300],
            ready=able,
            cpu=_share(document.get("cpu")),
            requests=int(recent["requests"]),
            errors=int(recent["errors"]),
        )
    except (ConfigError, ValueError, KeyError, TypeError) as error:
        return Health(answered=True, reason=f"its status makes no sense: {error!r}"[:300], ready=able)


def _share(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= 1 else None


def _fresh(headers: Mapping[str, str]) -> bool:
    """By the member's own clock: when it answered, and when the file was written."""
    try:
        told, written = (parsedate_to_datetime(headers[name]) for name in ("date", "last-modified"))
        return (told - written).total_seconds() <= FRESH_SECONDS
    except (KeyError, ValueError, TypeError):
        return False


def suspects(asked: Mapping[int, Health], most: int) -> list[int]:
    """Those that did not answer, when they are few enough for others to be asked about them."""
    silent = [droplet for droplet, told in asked.items() if not told.answered]
    return silent if len(silent) <= most else []


def witnesses(asked: Mapping[int, Health], most: int) -> Iterable[int]:
    """Members in good health, who can be asked about the others."""
    well = [droplet for droplet, told in asked.items() if told.answered and told.fence is Fence.OPEN]
    return well[:most]
