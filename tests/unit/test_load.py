"""The load generator itself: its schedule, what it calls a failure, what it reports."""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
import operator
import shlex
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet.machine import drain
from tests.load.client import Attempt, Door, ProtocolError, parse_head
from tests.load.generator import Generator
from tests.load.leaving import CONDITIONS, Step, drain_command
from tests.load.report import Latency, Ledger, Outcome, Report, rank, report
from tests.load.schedule import Profile, Visit, visits

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def test_visits_come_at_a_constant_rate_with_the_shares_asked_for() -> None:
    profile = Profile(rate=200, seconds=50, most=100_000)
    found = list(visits(profile, doors=3))
    assert len(found) == 10_000
    assert [visit.number for visit in found] == list(range(10_000))
    assert found[4321].due == pytest.approx(4321 / 200)
    assert sum(visit.post for visit in found) == pytest.approx(3000, rel=0.1)
    assert sum(visit.slow for visit in found) == pytest.approx(500, rel=0.2)
    assert {visit.door for visit in found} == {0, 1, 2}


def test_the_schedule_is_the_same_each_time_and_ends() -> None:
    profile = Profile(rate=10, most=25)
    assert list(visits(profile, 3)) == list(visits(profile, 3))
    assert len(list(visits(profile, 3))) == 25
    assert len(list(visits(Profile(rate=10, seconds=1.0), 3))) == 10


def test_gusts_have_rests_between() -> None:
    profile = Profile(rate=10, gust_seconds=0.5, rest_seconds=2.0, seconds=5.0)
    due = [visit.due for visit in visits(profile, 1)]
    assert due[:6] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 2.5])
    assert max(due) < 5.0


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"post_share": 1.5}, {"slow_share": -0.1}, {"gust_seconds": 0}]
)
def test_an_impossible_profile_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Profile(**wrong)  # type: ignore[arg-type]


def outcome(number: int, **changes: Any) -> Outcome:
    plain = {"door": "LHR", "post": False, "slow": False, "due": 100.0, "started": 100.0, "finished": 100.1}
    return Outcome(number=number, **{**plain, "member": "web-1", **changes})


def test_latency_counts_from_the_intended_start() -> None:
    late = outcome(1, due=100.0, started=103.0, finished=103.1)
    summed = report("r", 100.0, [outcome(number) for number in range(2, 52)] + [late])
    assert summed.quick.p50 == pytest.approx(0.1)
    assert summed.quick.longest == pytest.approx(3.1)
    assert summed.lag_p99 == pytest.approx(3.0)


def test_a_report_names_each_failure_and_survives_json() -> None:
    failed = outcome(7, failure="status 520", status=520, phase="read", post=True, due=104.0, member="")
    summed = report("r", 100.0, [outcome(1, post=True), failed, outcome(3, slow=True, finished=101.2)])
    assert summed.requests == 3
    assert summed.failed == {"status 520": 1}
    assert [failure.at for failure in summed.after(103.0)] == [104.0]
    assert summed.after(104.0) == ()
    assert summed.acknowledged == (1,)
    assert summed.slow.longest == pytest.approx(1.2)
    assert summed.members == {"web-1": 2}
    assert Report.read(json.loads(json.dumps(summed.document()))) == summed


def test_a_ledger_finds_doubled_and_lost_ids() -> None:
    # 3 was recorded though its visitor heard nothing: neither lost nor doubled.
    assert Ledger.of([1, 2, 4], {1: 1, 2: 2, 3: 1}) == Ledger(doubled=(2,), lost=(4,))


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [rank(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert Latency.of([]) == Latency(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "head", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"]
)
def test_an_answer_without_a_length_is_garbled(head: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_head(head)


def ok(number: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nX-Member: web-1\r\nX-Id: {number}\r\nContent-Length: 2\r\n\r\nok".encode()


class Server:
    """An HTTP server on loopback whose answers a test decides."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(5 if head.startswith(b"POST") else 0)
                await self._handler(head, writer)
        except (EOFError, ConnectionError):
            return
        finally:
            writer.close()

    def door(self, port: int | None = None) -> Door:
        return Door("LHR", "127.0.0.1", port or self.port, "www.foobar.com", None, [])


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[Server]:
    served = Server(handler)
    listening = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        listening.close()


async def run(door: Door, **profile: Any) -> list[Outcome]:
    wanted = Profile(**{"rate": 100, "most": 10, "slow_share": 0, "timeout_seconds": 0.5, **profile})
    return await Generator(wanted, [door], "r").visit(time.monotonic(), asyncio.Event())


def number_of(head: bytes) -> str:
    return head.split(b"?")[0].rpartition(b"/")[2].decode()


async def test_connections_are_kept_alive() -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(number_of(head)))

    async with server(answer) as site:
        outcomes = await run(site.door())
    assert [seen.failure for seen in outcomes] == [""] * 10
    assert site.connections < 10
    assert {seen.member for seen in outcomes} == {"web-1"}


async def test_a_slow_answer_keeps_nobody_else_waiting() -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if number_of(head) == "0":
            await asyncio.sleep(0.3)
        writer.write(ok(number_of(head)))

    async with server(answer) as site:
        outcomes = await run(site.door(), timeout_seconds=5)
    seconds = {seen.number: seen.seconds for seen in outcomes}
    assert seconds.pop(0) >= 0.3
    assert max(seconds.values()) < 0.25


async def hang(head: bytes, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(2)


async def cut(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def half(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(ok(number_of(head))[:-1])
    writer.close()


async def broken(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 520 Origin error\r\nContent-Length: 0\r\n\r\n")


async def swapped(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(ok("999"))


@pytest.mark.parametrize(
    ("handler", "failure", "phase"),
    [
        (hang, "timeout", "wait"),
        (cut, "ConnectionResetError", "wait"),
        (half, "IncompleteReadError", "read"),
        (broken, "status 520", "read"),
        (swapped, "answer to another", "read"),
    ],
    ids=["hang", "cut", "half", "broken", "swapped"],
)
async def test_what_is_not_the_answer_is_a_failure_and_is_never_tried_again(
    handler: Handler, failure: str, phase: str
) -> None:
    asked: list[str] = []

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        asked.append(number_of(head))
        await handler(head, writer)

    async with server(answer) as site:
        outcomes = await run(site.door(), most=3)
    kinds = {(seen.failure, seen.phase) for seen in outcomes}
    # A connection that is aborted may look reset or ended, as the kernel has it.
    assert kinds <= {(failure, phase), ("IncompleteReadError", phase)}
    assert sorted(asked) == ["0", "1", "2"]


async def test_a_closed_door_is_a_failure_to_connect() -> None:
    async with server(hang) as site:
        port = site.port
    [seen] = await run(site.door(port), most=1)
    assert (seen.failure, seen.phase) == ("ConnectionRefusedError", "connect")


async def test_stopping_awaits_the_last_answers() -> None:
    stop = asyncio.Event()

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        stop.set()
        await asyncio.sleep(0.1)
        writer.write(ok(number_of(head)))

    async with server(answer) as site:
        generator = Generator(Profile(rate=5, timeout_seconds=5), [site.door()], "r")
        outcomes = await generator.visit(time.monotonic(), stop)
    assert [seen.failure for seen in outcomes] == [""]


async def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(number_of(head)))
        writer.close()

    async with server(answer) as site:
        outcomes = await run(site.door(), rate=20, most=4)
        assert site.connections == 4
    assert [seen.failure for seen in outcomes] == [""] * 4


class Records:
    """A database that remembers the rows it was given."""

    def __init__(self) -> None:
        self.rows: list[tuple[object, ...]] = []

    def run(self, *statements: tuple[str, tuple[object, ...]]) -> list[tuple[Any, ...]]:
        self.rows += [values for text, values in statements if text.startswith("INSERT")]
        return []


@pytest.fixture
def load_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The load generator's site, importable as on a member, its faults read from a file of this test."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "app"))
    module = importlib.import_module("tests.load.site")
    monkeypatch.setattr(module, "FAULT", tmp_path / "fault")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    yield module
    for name in [name for name in sys.modules if name == "visits" or name.startswith("visits.")]:
        del sys.modules[name]


def ask(site: Any, path: str, method: str = "GET") -> tuple[str, dict[str, str]]:
    said: list[tuple[str, list[tuple[str, str]]]] = []
    site({"PATH_INFO": path, "REQUEST_METHOD": method}, lambda *answer: said.append(answer))
    [(status, headers)] = said
    return status[:3], dict(headers)


def test_the_site_records_each_post_and_breaks_as_told(load_site: Any) -> None:
    site = load_site.Site({"FLOTILLA_MEMBER": "web-7"})
    site._database = records = Records()
    assert ask(site, "/visits/abc/5") == ("200", ask(site, "/visits/abc/5", "POST")[1])
    assert records.rows == [("abc", 5, "web-7")]
    load_site.FAULT.write_text("500\n")
    assert ask(site, "/visits/abc/6", "POST")[0] == "500"
    assert [ask(site, path)[0] for path in ("/livez", "/readyz")] == ["200", "200"]
    load_site.FAULT.unlink()
    assert ask(site, "/visits/abc/7")[1]["X-Id"] == "7"
    assert ask(site, "/elsewhere")[0] == "404"


def test_a_visit_is_what_the_door_is_asked_for() -> None:
    generator = Generator(Profile(slow_seconds=1.5), [], "abc")
    door = Door("LHR", "127.0.0.1", 1, "www.foobar.com", None, [])
    request = generator._request(Visit(9, 0.0, 0, post=True, slow=True), door)
    assert request.startswith(b"POST /visits/abc/9?sleep=1.5 HTTP/1.1\r\nHost: www.foobar.com\r\n")
    assert Attempt().phase == "connect"


@pytest.mark.parametrize("step", [None, *Step])
def test_what_a_drain_is_made_to_leave_out_is_part_of_the_program(step: Step | None) -> None:
    line = drain_command(CONDITIONS[step or Step.LAME_DUCK], step)
    program = shlex.split(line)[4]
    body = [node for node in ast.parse(program).body if not isinstance(node, ast.Expr)]
    changed = {
        ast.unparse(target) for node in body if isinstance(node, ast.Assign) for target in node.targets
    }
    assert changed <= {"drain.lame_duck.begin", "drain.Drain._only_idle", "drain.Drain._open"} | {
        "drain.nginx_process.reload"
    }
    for name in changed:
        assert operator.attrgetter(name.removeprefix("drain."))(drain), name


def test_waiting_is_left_out_by_the_times() -> None:
    assert "--propagation 0 " in drain_command(CONDITIONS[Step.PROPAGATION], Step.PROPAGATION)
    assert "--propagation 5 " in drain_command(CONDITIONS[Step.PROPAGATION], None)
    assert "--quiet 0 " in drain_command(CONDITIONS[Step.QUIET], Step.QUIET)
