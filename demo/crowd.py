"""Visitors of the demo: they come at a rate, whatever became of those before, through every point of presence."""

from __future__ import annotations

import asyncio
import json
import shlex
import ssl
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import aiohttp

TIMEOUT_SECONDS: Final = 30.0
RECENT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Way:
    """How this computer reaches the site."""

    url: str
    authority: str
    address: str
    port: int

    @classmethod
    def read(cls, curl: str) -> Way:
        """From the curl line that `python -m sandbox visit` prints."""
        words = shlex.split(curl)
        _, _, address, port = words[words.index("--connect-to") + 1].split(":")
        return cls(words[-1], words[words.index("--cacert") + 1], address, int(port))

    @property
    def host(self) -> str:
        """The site's name."""
        return urlsplit(self.url).hostname or ""


@dataclass(slots=True)
class Tally:
    """What became of the visits."""

    answered: int = 0
    failed: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    _recent: deque[tuple[float, str, str]] = field(default_factory=deque)

    def note(self, now: float, member: str, release: str) -> None:
        """One answer."""
        self.answered += 1
        self._recent.append((now, member, release))

    def miss(self, trouble: str) -> None:
        """One visit without an answer of the site."""
        self.failed += 1
        self.troubles[trouble] += 1

    def recent(self, now: float) -> tuple[Counter[str], Counter[str]]:
        """Answers of the last few seconds by member and by release."""
        while self._recent and self._recent[0][0] < now - RECENT_SECONDS:
            self._recent.popleft()
        return Counter(entry[1] for entry in self._recent), Counter(entry[2] for entry in self._recent)


class Crowd:
    """Comes until it is told to stop. `rate` is in visits per second and may be changed while it comes."""

    def __init__(self, way: Way, rate: float) -> None:
        self.rate = rate
        self.tally = Tally()
        self._way = way
        self._visits: set[asyncio.Task[None]] = set()

    async def come(self) -> None:
        """Until cancelled; the visits under way are then awaited."""
        trust = ssl.create_default_context(cafile=self._way.authority)
        connector = aiohttp.TCPConnector(limit=0, ssl=trust)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            try:
                await self._arrive(session)
            finally:
                await asyncio.gather(*self._visits)

    async def _arrive(self, session: aiohttp.ClientSession) -> None:
        due = time.monotonic()
        while True:
            due += 1 / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._visit(session))
            self._visits.add(task)
            task.add_done_callback(self._visits.discard)

    async def _visit(self, session: aiohttp.ClientSession) -> None:
        url = f"https://{self._way.address}:{self._way.port}{urlsplit(self._way.url).path or '/'}"
        headers = {"Host": self._way.host, "Accept": "application/json"}
        try:
            async with session.get(url, headers=headers, server_hostname=self._way.host) as answer:
                if answer.status != 200:
                    self.tally.miss(f"status {answer.status}")
                    return
                facts = json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.tally.miss(type(error).__name__)
            return
        self.tally.note(time.monotonic(), str(facts["member"]), str(facts["release"]))
