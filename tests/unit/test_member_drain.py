"""flotilla-drain: keep serving first, lame duck second, and nothing is ever closed before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleet.machine import drain, nginx_process, places
from fleet.machine.drain import Drain, Pace
from fleet.machine.host import MachineError
from fleet.machine.sockets import connections, parse
from tests.unit.fake_machine import FakeClock, FakeHost, lay_nginx_worker, play_nginx

HEADER = "  sl  local_address rem_address   st\n"
VISITOR = "   0: 0A001414:01BB 0930F5AD:C001 01 0\n"
LISTENER = "   1: 00000000:01BB 00000000:0000 0A 0\n"


class Member:
    """A member with visitors, and what it did when."""

    def __init__(self, root: Path, *, last_visit: float = -100.0, busy_until: float = -1.0) -> None:
        self.host = FakeHost(root)
        self.clock = FakeClock(self._pass)
        self.start = self.clock.now()
        self.last_visit = last_visit
        self.busy_until = busy_until
        self.said: list[tuple[float, str]] = []
        self.lame_at: float | None = None
        self.host.lay(places.ACCESS_LOG, "")
        play_nginx(self.host)
        self.open(1)
        self._pass(self.start)

    def open(self, count: int) -> None:
        self.host.lay("/proc/net/tcp", HEADER + LISTENER + VISITOR * count)

    def elapsed(self) -> float:
        return self.clock.now() - self.start

    def _pass(self, now: float) -> None:
        if self.lame_at is None and self.host.path(places.LAME_DUCK).exists():
            self.lame_at = self.elapsed()
        visit = self.start + min(self.last_visit, now - self.start)
        os.utime(self.host.path(places.ACCESS_LOG), (visit, visit))
        if any("reload" in line for line in self.host.lines()):
            self.open(0)

    def drain(self, *, propagation: float, quiet: float, cap: float) -> int:
        def in_flight() -> int:
            return 1 if self.elapsed() < self.busy_until else 0

        run = Drain(self.host, self.clock, in_flight, lambda text: self.said.append((self.elapsed(), text)))
        return run.run(Pace(propagation, quiet, cap))

    def lame_said_at(self) -> float:
        return next(when for when, text in self.said if text.startswith("lame duck"))


def test_a_member_serves_on_for_the_propagation_time(tmp_path: Path) -> None:
    member = Member(tmp_path)
    assert member.drain(propagation=300, quiet=60, cap=120) == 0
    assert member.lame_said_at() == pytest.approx(300)


def test_a_member_serves_on_until_no_visitor_came_for_a_while(tmp_path: Path) -> None:
    member = Member(tmp_path, last_visit=330)
    member.drain(propagation=300, quiet=60, cap=600)
    assert member.lame_said_at() == pytest.approx(390, abs=1)


def test_a_long_request_is_waited_for(tmp_path: Path) -> None:
    member = Member(tmp_path, busy_until=310)
    member.drain(propagation=300, quiet=5, cap=600)
    assert member.lame_said_at() == pytest.approx(310, abs=1)


def test_visitors_who_never_stop_do_not_hold_it_for_ever(tmp_path: Path) -> None:
    member = Member(tmp_path, last_visit=10_000)
    member.drain(propagation=10, quiet=5, cap=30)
    assert member.lame_said_at() == pytest.approx(40, abs=1)
    assert any("still come" in text for _, text in member.said)


def test_visitors_who_still_come_use_up_open_connections_before_any_is_closed(tmp_path: Path) -> None:
    member = Member(tmp_path, last_visit=10_000)
    member.drain(propagation=10, quiet=5, cap=30)
    assert member.elapsed() == pytest.approx(45, abs=1)


def test_idle_connections_are_closed_only_when_no_request_is_under_way(tmp_path: Path) -> None:
    member = Member(tmp_path, last_visit=10_000, busy_until=33)
    member.drain(propagation=10, quiet=5, cap=20)
    reloaded = member.elapsed()
    assert reloaded >= 33


def test_nothing_is_stopped_by_a_drain(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.drain(propagation=1, quiet=1, cap=1)
    assert [line for line in member.host.lines() if not line.startswith("systemctl is-active")] == [
        "systemctl reload nginx.service"
    ]
    assert member.host.path(places.LAME_DUCK).exists()


def test_who_asks_is_told_that_the_member_leaves(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.drain(propagation=1, quiet=1, cap=1)
    assert member.host.path(places.LEAVING).exists()


def test_a_member_without_nginx_has_nothing_to_drain(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.host.answer("systemctl is-active", code=3)
    assert member.drain(propagation=300, quiet=60, cap=120) == 0
    assert member.elapsed() == 0


def test_what_is_left_at_the_cap_is_said(tmp_path: Path) -> None:
    member = Member(tmp_path)
    member.open(3)
    member._pass = lambda now: None  # type: ignore[method-assign] # the connections stay
    member.clock._during = lambda now: None
    assert member.drain(propagation=1, quiet=0, cap=5) == 3
    assert "3 connections are still open" in member.said[-1][1]


def test_an_nginx_that_serves_the_peers_is_not_waited_for(tmp_path: Path) -> None:
    member = Member(tmp_path)
    lay_nginx_worker(member.host, 300, main=299)
    assert member.drain(propagation=1, quiet=1, cap=1) == 0
    assert nginx_process.accepting_workers(member.host) == {101}


def test_only_open_connections_from_elsewhere_count(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    closed = "   2: 0A001414:01BB 0930F5AD:C002 06 0\n"
    own = "   3: 0100007F:01BB 0100007F:C003 01 0\n"
    other_port = "   4: 0A001414:0016 0930F5AD:C004 01 0\n"
    host.lay("/proc/net/tcp", HEADER + LISTENER + VISITOR + closed + own + other_port)
    mapped = "   0: 0000000000000000FFFF00000A001414:01BB 0000000000000000FFFF00000930F5AD:C001 01 0\n"
    host.lay("/proc/net/tcp6", HEADER + mapped)
    assert connections(host, 443) == 2


def test_a_broken_line_of_the_kernels_table_is_skipped() -> None:
    assert parse(HEADER + "\n") == []


@pytest.mark.parametrize("text", ["-1", "nan", "1e9"])
def test_absurd_times_are_refused(text: str) -> None:
    with pytest.raises(Exception, match="must be from 0"):
        drain._seconds(text)


def test_a_status_that_is_no_status_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx_process, "STATUS_PORT", 1)
    with pytest.raises(MachineError, match="does not tell its status"):
        nginx_process.status()
