"""What members' answers mean to the controller, and how it asks for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fleet.controller import probe
from fleet.controller.model import Fence, Health
from fleet.controller.probe import SILENT, NetworkProber, Reply, health

STATUS: dict[str, Any] = {
    "slot": "web-1",
    "state": "open",
    "reason": "",
    "requests": 1000,
    "errors": 10,
    "recent": {"requests": 40, "errors": 1},
    "cpu": 0.25,
}
FRESH = {"date": "Sat, 21 Nov 2026 12:00:05 GMT", "last-modified": "Sat, 21 Nov 2026 12:00:04 GMT"}
STALE = {"date": "Sat, 21 Nov 2026 12:00:11 GMT", "last-modified": "Sat, 21 Nov 2026 12:00:04 GMT"}
READY = Reply(200, {}, b"")


def status(headers: dict[str, str] = FRESH, code: int = 200, **changes: Any) -> Reply:
    return Reply(code, headers, json.dumps({**STATUS, **changes}).encode())


def test_a_member_that_is_well() -> None:
    assert health(status(), READY) == Health(
        answered=True, fence=Fence.OPEN, ready=True, cpu=0.25, requests=40, errors=1
    )


@pytest.mark.parametrize("state", ["closed", "held", "leaving"])
def test_a_member_says_how_its_fence_stands(state: str) -> None:
    told = health(status(state=state, reason="nginx is failed"), None)
    assert (told.fence, told.reason, told.ready) == (Fence(state), "nginx is failed", None)


@pytest.mark.parametrize(
    "reply",
    [
        status(STALE),
        status({}),
        status(code=404),
        status(state="odd"),
        status(recent=None),
        Reply(200, FRESH, b"{"),
        Reply(200, FRESH, b"[]"),
        Reply(200, FRESH, b"\xff"),
    ],
)
def test_an_answer_that_tells_nothing_is_still_an_answer(reply: Reply) -> None:
    told = health(reply, READY)
    assert (told.answered, told.fence, told.ready) == (True, None, True)
    assert told.reason


@pytest.mark.parametrize("cpu", [None, True, "0.5", 1.5, -1])
def test_a_load_that_makes_no_sense_is_none(cpu: object) -> None:
    assert health(status(cpu=cpu), READY).cpu is None


def test_no_answer_and_a_database_that_is_away() -> None:
    assert health(None, READY) == SILENT
    assert health(status(), Reply(503, {}, b"")).ready is False


@asynccontextmanager
async def member(answer: bytes, *, hang: bool = False) -> AsyncIterator[int]:
    """A port that answers every request so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if hang:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_whole_answer_is_read() -> None:
    async with member(b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nhi") as port:
        reply = await probe.get("127.0.0.1", port, "/status")
    assert reply == Reply(200, {"date": "x", "content-length": "2"}, b"hi")


@pytest.mark.parametrize(
    ("answer", "hang"),
    [(b"", False), (b"SSH-2.0-x\r\n\r\n", False), (b"HTTP/1.1 2", True), (b"x" * 100_000, False)],
    ids=["nothing", "not HTTP", "never ends", "too much"],
)
async def test_what_is_no_whole_answer_in_time_is_none(
    answer: bytes, hang: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.3)
    async with member(answer, hang=hang) as port:
        assert await probe.get("127.0.0.1", port, "/status") is None
    assert await probe.get("127.0.0.1", port, "/status") is None


async def test_a_thousand_members_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def one(address: str) -> Health:
        asked.append(address)
        await asyncio.sleep(0)
        return SILENT

    monkeypatch.setattr(probe, "probe", one)
    members = {number: f"10.20.{number // 250}.{number % 250}" for number in range(1000)}
    told = await NetworkProber().ask(members)
    assert list(told) == list(members)
    assert asked == list(members.values())


def test_who_is_asked_about_whom() -> None:
    asked = {1: SILENT, 2: Health(answered=True, fence=Fence.OPEN), 3: Health(answered=True)}
    assert probe.suspects(asked, 1) == [1]
    assert probe.suspects({1: SILENT, 2: SILENT}, 1) == []
    assert list(probe.witnesses(asked, 2)) == [2]
