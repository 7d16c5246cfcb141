"""Visits on schedule, whatever became of those before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from tests.load.client import Attempt, Door, ProtocolError
from tests.load.report import Outcome
from tests.load.schedule import Profile, Visit, visits

MEMBER_HEADER = "x-member"
ID_HEADER = "x-id"


class Generator:
    """One run. `run` is its name, which the site records with each id."""

    def __init__(self, profile: Profile, doors: Sequence[Door], run: str) -> None:
        self._profile = profile
        self._doors = doors
        self._run = run
        self._outcomes: list[Outcome] = []

    async def visit(self, started: float, stop: asyncio.Event) -> list[Outcome]:
        """Send every visit at its time until the schedule ends or `stop` is set; the last answers are awaited."""
        pending: set[asyncio.Task[None]] = set()
        for visit in visits(self._profile, len(self._doors)):
            wait = started + visit.due - time.monotonic()
            if wait > 0 and await _stopped(stop, wait):
                break
            task = asyncio.create_task(self._one(visit, started + visit.due))
            pending.add(task)
            task.add_done_callback(pending.discard)
        await asyncio.gather(*pending)
        for door in self._doors:
            door.close()
        return self._outcomes

    async def _one(self, visit: Visit, due: float) -> None:
        door, attempt, started = self._doors[visit.door], Attempt(), time.monotonic()
        status, member, failure = None, "", ""
        try:
            async with asyncio.timeout(self._profile.timeout_seconds):
                answer = await door.exchange(self._request(visit, door), attempt)
            status, member = answer.status, answer.headers.get(MEMBER_HEADER, "")
            if status != 200:
                failure = f"status {status}"
            elif answer.headers.get(ID_HEADER) != str(visit.number):
                failure = "answer to another"
        except TimeoutError:
            failure = "timeout"
        except ProtocolError:
            failure = "garbled"
        except (OSError, EOFError) as error:
            failure = type(error).__name__
        self._outcomes.append(
            Outcome(
                number=visit.number,
                door=door.name,
                post=visit.post,
                slow=visit.slow,
                due=due,
                started=started,
                finished=time.monotonic(),
                status=status,
                failure=failure,
                phase=attempt.phase if failure else "",
                member=member,
                reused=attempt.reused,
            )
        )

    def _request(self, visit: Visit, door: Door) -> bytes:
        sleep = self._profile.slow_seconds if visit.slow else 0
        method, body = ("POST", b"thing") if visit.post else ("GET", b"")
        return (
            f"{method} /visits/{self._run}/{visit.number}?sleep={sleep:g} HTTP/1.1\r\n"
            f"Host: {door.domain}\r\nUser-Agent: load\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
