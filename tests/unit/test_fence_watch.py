"""The fence's watcher on a machine that is only played, its eyes, and its hands."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from fleet.machine import (
    asking,
    barrier,
    fence_command,
    fence_status,
    peers,
    places,
    processor,
    receive_peers,
    visits,
)
from fleet.machine.asking import Question, Reply
from fleet.machine.fence import Count, State
from fleet.machine.fence_senses import Senses
from fleet.machine.fence_watch import APP_UNIT, GRACE_SECONDS, Watcher
from fleet.machine.host import MachineError
from fleet.reading import ConfigError
from tests.unit.fake_machine import DATABASE, WEB, FakeClock, FakeHost

NETWORK = "10.20.0.0/20"
OK = Reply(status=200)
REFUSED = Reply(fault="Connection refused")
LATE = Reply(fault="no answer", late=True)
DATES = {"date": "Sat, 21 Nov 2026 10:00:04 GMT", "last-modified": "Sat, 21 Nov 2026 10:00:00 GMT"}


def line(status: int, seconds: str = "0.010", request: str = "GET / HTTP/1.1", *, ended: float = 7.5) -> str:
    """A visit whose status the own app gave, and which the visitor saw as 200."""
    return f'192.0.2.1 [2026-11-21T10:00:00+00:00] "{request}" 200 120 {seconds} "agent 1.0 x" {ended:.3f} {status}\n'


def peer_reply(**changes: object) -> Reply:
    document = {"state": "open", "closing": False, "trouble": "", "requests": 0, "errors": 0, **changes}
    return Reply(status=200, headers=DATES, body=json.dumps(document).encode())


class Machine:
    """A member whose processes and peers answer as a test says."""

    def __init__(self, root: Path, *, peers: int = 3) -> None:
        self.host = FakeHost(root)
        self.clock = FakeClock(self._time_passes)
        self.traffic: dict[float, float] = {}  # seconds that a visit takes: how many end in a second
        self._then = self.clock.now()
        self._owed: dict[float, float] = {}
        self._share: float | None = None
        self._used = 0.0
        self.host.lay(places.MACHINE, WEB.to_json())
        self.host.lay(places.ACCESS_LOG, "")
        self.host.lay(places.SETTINGS, json.dumps({"server_names": ["*.foobar.com"], "live_path": "/up"}))
        for place in (places.FENCE, "/var/lib/flotilla/fence"):
            self.host.path(place).mkdir(parents=True)
        self.answers: dict[str, Reply] = {"nginx": OK, "the app": OK, "ready": OK}
        listed = {"web-1": "10.20.0.1"}
        for number in range(2, peers + 2):
            listed[f"web-{number}"] = f"10.20.0.{number}"
            self.answers[f"web-{number}"] = peer_reply()
            self.answers[f"web-{number} ready"] = OK
        self.host.lay(places.PEERS, json.dumps({"peers": listed if peers else {}}))
        self.asked: list[Mapping[str, Question]] = []
        self.hups = 0
        self.said: list[str] = []
        self.told_before_closing: list[bool] = []
        self.start()

    def start(self) -> None:
        """The watcher anew, as after a crash."""
        senses = Senses(self.host, self.clock, self.ask, "web-1")
        self.watcher = Watcher(self.host, self.clock, senses, ("web-1", NETWORK), self.said.append)

    def ask(self, questions: Mapping[str, Question], timeout: float) -> dict[str, Reply]:
        self.asked.append(questions)
        if "web-2" in questions:
            self.told_before_closing.append(self.status().get("closing", False))
        replies = {name: self.answers[name] for name in questions}
        if any(reply.late for reply in replies.values()):
            self.clock.pause(timeout)
        return replies

    def use_processor(self, share: float) -> None:
        """From now on this share of the processors' time is used."""
        self._share = share

    def run(self, seconds: float) -> None:
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.clock.pause(max(0.01, self.watcher.step()))

    def visited(self, count: int, status: int = 200) -> None:
        """Visits that end now."""
        with self.host.path(places.ACCESS_LOG).open("a") as log:
            log.write(line(status, ended=self.clock.wall()) * count)

    def _time_passes(self, now: float) -> None:
        """Visitors come and go, and the processors work, also while the watcher waits."""
        passed, began, self._then = now - self._then, self._then, now
        with self.host.path(places.ACCESS_LOG).open("a") as log:
            for takes, rate in self.traffic.items():
                owed = self._owed.get(takes, 0.0) + rate * passed
                for number in range(1, int(owed) + 1):
                    log.write(line(200, f"{takes:.3f}", ended=began + passed * number / owed))
                self._owed[takes] = owed % 1
        if self._share is not None:
            self._used += self._share * passed * len(os.sched_getaffinity(0))
            self.host.lay(processor.ACCOUNT, f"usage_usec {self._used * 1e6:.0f}\nuser_usec 0\n")

    def status(self) -> dict[str, Any]:
        text = self.host.read(places.FENCE_STATUS)
        loaded: dict[str, Any] = json.loads(text) if text else {}
        return loaded

    def fed(self) -> list[str]:
        """What nft was told, in order."""
        return [self.host.fed[argv] for argv in self.host.ran if argv[0] == "nft"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)

    def hup(host: object) -> None:
        made.hups += 1

    monkeypatch.setattr(barrier, "end_idle_connections", hup)
    return made


def test_a_member_that_is_well_tells_so(machine: Machine) -> None:
    machine.run(2)
    status = machine.status()
    assert (status["slot"], status["state"], status["reason"]) == ("web-1", "open", "")
    assert machine.fed() == [barrier.OPEN_RULES]


def test_the_app_is_asked_as_its_settings_say(machine: Machine) -> None:
    machine.run(0.1)
    question = machine.asked[0]["the app"]
    assert (question.path, question.host) == ("/up", "www.foobar.com")


@pytest.mark.parametrize("broken", ["nginx", "the app"])
@pytest.mark.parametrize("reply", [REFUSED, LATE, Reply(status=503)], ids=["refused", "late", "error"])
def test_a_broken_member_closes_within_two_seconds(machine: Machine, broken: str, reply: Reply) -> None:
    machine.run(1)
    machine.answers[broken] = reply
    machine.run(2)
    assert machine.status()["state"] == "closed"
    assert machine.status()["reason"].startswith(broken)
    assert machine.host.path(places.FENCE_LAME_DUCK).exists()
    assert machine.host.read(places.FENCE_RULES) == barrier.closed_rules(NETWORK)
    assert machine.hups == 1


@pytest.mark.parametrize("rate", [0, 1, 10, 100])
@pytest.mark.parametrize("late", [0.0, 0.05, 0.1, 0.15])
def test_a_hanging_app_is_closed_though_work_of_before_still_ends(
    machine: Machine, rate: float, late: float
) -> None:
    machine.traffic = {0.02: rate}
    machine.run(4 + late)
    # A twentieth of the visits is long, and was under way when the app hung.
    machine.traffic = {5.0: rate / 20}
    machine.answers["the app"] = LATE
    began = machine.clock.now()
    while machine.status()["state"] == "open":
        machine.run(0.01)
    assert machine.clock.now() - began < 2


@pytest.mark.parametrize(("rate", "takes"), [(2, 0.4), (50, 0.7), (20, 3.0), (5, 1.0), (100, 8.0)])
def test_a_slow_app_that_answers_gets_longer_than_one_that_hangs(
    machine: Machine, rate: float, takes: float
) -> None:
    machine.traffic = {takes: rate}
    machine.run(4)
    machine.answers["the app"] = LATE
    machine.run(3.5)
    assert machine.status()["state"] == "open"
    machine.answers["the app"] = OK
    machine.run(4)
    assert machine.status()["state"] == "open"


def test_an_app_that_answers_visitors_and_never_its_check_is_closed_within_five_seconds(
    machine: Machine,
) -> None:
    machine.traffic = {0.5: 20}
    machine.run(4)
    machine.answers["the app"] = LATE
    machine.run(5)
    assert machine.status()["state"] == "closed"


KILL = ("systemctl", "kill", "--signal=KILL", APP_UNIT)


def test_an_app_that_answers_nobody_is_killed_once_so_that_a_peer_answers_what_it_held(
    machine: Machine,
) -> None:
    machine.answers["the app"] = LATE
    machine.run(10)
    assert machine.host.ran.count(KILL) == 1
    assert machine.host.ran.index(KILL) > machine.host.ran.index(("nft", "--file", "-"))
    fence_command.hold(machine.host, FakeClock(lambda _: machine.run(0.1)), "looked at")
    machine.run(2)
    assert machine.host.ran.count(KILL) == 1


@pytest.mark.parametrize("sign", ["refuses", "fails", "serves", "busy", "nginx", "excused"])
def test_no_other_app_is_killed(machine: Machine, sign: str) -> None:
    replies = {"refuses": REFUSED, "fails": Reply(status=500)}
    machine.answers["nginx" if sign == "nginx" else "the app"] = replies.get(sign, LATE)
    if sign == "serves":
        machine.traffic = {0.5: 20}
    if sign == "busy":
        machine.answers["the app"] = OK
        machine.use_processor(1.0)
        machine.run(4)
        machine.answers["the app"] = LATE
    if sign == "excused":
        machine.host.lay(places.FENCE_EXCUSE, "")
        now = machine.clock.wall()
        os.utime(machine.host.path(places.FENCE_EXCUSE), (now, now))
    machine.run(10)
    assert machine.status()["state"] == ("open" if sign == "excused" else "closed")
    assert KILL not in machine.host.ran


def test_a_kill_that_fails_is_said_and_the_member_stays_closed(machine: Machine) -> None:
    machine.host.answer("systemctl kill", code=1, error="no such unit")
    machine.answers["the app"] = LATE
    machine.run(5)
    assert machine.status()["state"] == "closed"
    assert [text for text in machine.said if "cannot be killed: no such unit" in text]


def test_visits_that_fail_are_no_sign_of_life(machine: Machine) -> None:
    machine.answers["the app"] = LATE
    for _ in range(20):
        machine.visited(4, 504)
        machine.run(0.1)
    assert machine.status()["state"] == "closed"


def test_a_member_whose_processors_are_at_their_limit_gets_longer(machine: Machine) -> None:
    for share, state in ((0.95, "open"), (0.2, "closed")):
        machine.use_processor(share)
        machine.answers["the app"] = OK
        machine.run(5)
        machine.answers["the app"] = LATE
        machine.run(2)
        assert machine.status()["state"] == state


def test_an_app_that_restarts_for_a_bundle_is_waited_for_but_not_for_ever(machine: Machine) -> None:
    machine.host.lay(places.FENCE_EXCUSE, "")
    told = machine.clock.wall()
    os.utime(machine.host.path(places.FENCE_EXCUSE), (told, told))
    machine.answers["the app"] = LATE
    machine.run(10)
    assert machine.status()["state"] == "open"
    machine.run(8)
    assert machine.status()["state"] == "closed"


def test_the_peers_are_told_before_the_last_look_at_them(machine: Machine) -> None:
    machine.answers["nginx"] = REFUSED
    machine.run(2)
    assert machine.told_before_closing == [False, True]


def test_a_page_that_is_not_there_is_no_fault_of_the_member(machine: Machine) -> None:
    machine.answers["the app"] = Reply(status=404)
    machine.run(3)
    assert machine.status()["state"] == "open"


def test_a_closed_member_opens_when_it_is_well_and_ready(machine: Machine) -> None:
    machine.answers |= {"the app": REFUSED, "ready": Reply(status=503)}
    machine.run(2)
    machine.answers["the app"] = OK
    machine.run(10)
    assert machine.status()["state"] == "closed"
    machine.answers["ready"] = OK
    machine.run(6)
    assert machine.status()["state"] == "open"
    assert machine.fed()[-1] == barrier.OPEN_RULES
    assert not barrier.is_closed(machine.host)
    assert not machine.host.path(places.FENCE_LAME_DUCK).exists()


def test_without_a_list_of_peers_nothing_closes(tmp_path: Path) -> None:
    alone = Machine(tmp_path, peers=0)
    alone.answers["the app"] = REFUSED
    alone.run(5)
    assert alone.status()["state"] == "open"
    assert alone.status()["trouble"] == "dead"


def test_errors_among_visitors_close_when_the_peers_have_none(machine: Machine) -> None:
    machine.run(1)
    for number in range(8):
        machine.visited(5, 500)
        for peer in ("web-2", "web-3", "web-4"):
            machine.answers[peer] = peer_reply(requests=100 + number * 10)
        machine.run(0.25)
    assert machine.status()["state"] == "closed"
    assert machine.status()["errors"] >= 5


def test_a_dependency_of_all_closes_nobody(machine: Machine) -> None:
    machine.answers["the app"] = LATE
    for peer in ("web-2", "web-3", "web-4"):
        machine.answers[f"{peer} ready"] = LATE
    machine.run(10)
    assert machine.status()["state"] == "open"


@pytest.mark.parametrize(
    "reply",
    [
        REFUSED,
        Reply(status=502),
        Reply(status=200, headers=DATES, body=b"{}"),
        Reply(status=200, headers=DATES, body=b'{"state": "open", "closing": false, "trouble": "new"}'),
        Reply(status=200, headers={}, body=peer_reply().body),
        Reply(status=200, headers={**DATES, "date": "Sat, 21 Nov 2026 10:01:00 GMT"}, body=peer_reply().body),
    ],
    ids=["refused", "error", "empty", "unknown", "no dates", "stale"],
)
def test_a_peer_that_does_not_tell_is_unreachable(reply: Reply) -> None:
    assert fence_status.peer_of(reply, None) is None


def test_what_fails_to_take_force_is_tried_again_and_said_once(machine: Machine) -> None:
    machine.host.answer("nft", code=1, error="no table")
    machine.run(3)
    assert len([text for text in machine.said if "not in force" in text]) == 1
    machine.host.answer("nft")
    machine.host.ran.clear()
    machine.run(0.3)
    assert machine.fed() == [barrier.OPEN_RULES]


def test_a_watcher_that_comes_back_finds_the_fence_as_it_was(machine: Machine) -> None:
    machine.answers["nginx"] = REFUSED
    machine.run(2)
    machine.start()
    machine.run(1)
    assert machine.status()["state"] == "closed"
    machine.answers["nginx"] = OK
    machine.run(6)
    assert machine.status()["state"] == "open"


def test_a_hold_survives_and_a_release_opens(machine: Machine) -> None:
    machine.run(1)
    waiting = FakeClock(lambda _: machine.run(0.1))
    assert fence_command.hold(machine.host, waiting, "canary is\nslow") == "held: canary isslow"
    assert machine.status()["state"] == "held"
    assert machine.host.read(places.FENCE_HELD_RULES) == barrier.closed_rules(NETWORK)
    machine.run(GRACE_SECONDS + 0.3)
    assert machine.hups == 1
    machine.start()
    machine.run(60)
    assert (machine.status()["state"], machine.status()["reason"]) == ("held", "canary isslow")
    fence_command.release(machine.host, waiting)
    machine.run(2)
    assert machine.status()["state"] == "open"
    assert not barrier.is_closed(machine.host)


def test_a_hold_needs_no_watcher(machine: Machine) -> None:
    said = fence_command.hold(machine.host, FakeClock(), "by hand")
    assert "does not run" in said
    assert barrier.closed_rules(NETWORK) in machine.fed()
    assert machine.hups == 1
    assert "open" in fence_command.release(machine.host, FakeClock())
    assert not barrier.is_closed(machine.host)


def test_a_database_has_no_fence(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.lay(places.MACHINE, DATABASE.to_json())
    with pytest.raises(MachineError, match="only a web member"):
        fence_command.hold(host, FakeClock(), "x")


def test_a_status_that_nobody_keeps_fresh_is_an_error(machine: Machine) -> None:
    machine.run(0.3)
    written = machine.clock.wall() - 10
    os.utime(machine.host.path(places.FENCE_STATUS), (written, written))
    with pytest.raises(MachineError, match="nobody watches"):
        fence_command.status(machine.host, machine.clock)


def test_a_member_that_leaves_says_so_and_closes_all_the_same(machine: Machine) -> None:
    machine.host.lay(places.LEAVING, "")
    machine.run(0.3)
    assert machine.status()["state"] == "leaving"
    machine.answers["nginx"] = REFUSED
    machine.run(2)
    assert machine.status()["state"] == "closed"


def test_nginx_is_told_by_its_own_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    host = FakeHost(tmp_path)
    host.lay(barrier.NGINX_PID, "123\n")
    barrier.end_idle_connections(host)
    assert sent == [(123, signal.SIGHUP)]
    host.lay(barrier.NGINX_PID, "")
    barrier.end_idle_connections(host)
    assert len(sent) == 1


# Processors


def test_peers_are_told_how_busy_the_processors_are(machine: Machine) -> None:
    machine.run(1)
    assert machine.status()["cpu"] is None
    machine.use_processor(0.25)
    machine.run(6)
    assert machine.status()["cpu"] == pytest.approx(0.25, abs=0.01)
    machine.use_processor(0.75)
    machine.run(4)
    assert machine.status()["cpu"] == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    ("readings", "share"),
    [
        ([], None),
        (["usage_usec 5000000"], None),
        (["usage_usec 0", "usage_usec 500000"], 0.25),
        (["usage_usec 0", "usage_usec 9000000"], 1.0),
        (["usage_usec 900000", "usage_usec 100000"], None),
        (["usage_usec 0", ""], None),
        (["usage_usec 0", "usage_usec x"], None),
        (["usage_usec 0", "user_usec 7"], None),
    ],
    ids=["none", "one", "half a processor of two", "more than all", "fell", "empty", "no number", "another"],
)
def test_the_share_of_the_processors_time(tmp_path: Path, readings: list[str], share: float | None) -> None:
    host = FakeHost(tmp_path)
    looks = processor.Processor(host, cpus=2)
    for number, text in enumerate(readings):
        host.lay(processor.ACCOUNT, text + "\nnr_periods 0\n")
        looks.look(100.0 + number)
    assert looks.share() == share


# Visits


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (line(200), (200, 0.01, 7.5)),
        (line(502, "5.001", r"GET /\x22 200 1 9 \x22 HTTP/1.1"), (502, 5.001, 7.5)),
        ("", None),
        ('a "b" c', None),
        ('a "b" 200 1 - "x" 7.5 200', None),
        ('a "b" 200 1 0.1 "x" 7.5 -', None),
        ('a "b" 200 1 0.1 "x"', None),
    ],
)
def test_a_line_of_the_log_is_read(text: str, seen: tuple[int, float, float] | None) -> None:
    assert visits.parse(text.encode()) == seen


def test_visits_are_counted_by_latency_and_outcome() -> None:
    tally = visits.Tally()
    for now, status, seconds in ((0.0, 200, 0.004), (1.0, 500, 0.005), (2.5, 404, 100.0)):
        tally.add(now, status, seconds)
    assert tally.total == Count(3, 1)
    assert (tally.latency[visits.BOUNDS.index(0.005)], tally.latency[-1]) == (2, 1)
    assert tally.recent(2.5) == Count(2, 1)
    assert tally.recent(3.5) == Count(1, 0)
    assert tally.answered(2.0) == (1, 0)
    assert tally.answered(2.5) == (0, 0)
    tally.add(2.6, 200, 0.05)
    assert tally.answered(2.5) == (1, 1)


@pytest.mark.parametrize("status", [501, 505, 507])
def test_what_a_stranger_can_cause_is_no_failure(status: int) -> None:
    tally = visits.Tally()
    tally.add(0, status, 0)
    assert tally.total == Count(1, 0)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.write_text("old\n")
    return path


def test_lines_before_the_start_do_not_count(log: Path) -> None:
    reader = visits.AccessLog(log)
    with log.open("a") as file:
        file.write("new\nhal")
    assert reader.lines(0) == [b"new"]
    with log.open("a") as file:
        file.write("f\n")
    assert reader.lines(0) == [b"half"]


def test_a_rotated_log_is_read_to_its_end_before_the_next(log: Path) -> None:
    reader = visits.AccessLog(log)
    old = log.rename(log.with_name("access.log.1"))
    log.touch()
    with old.open("a") as file:
        file.write("last\n")
    assert reader.lines(0) == [b"last"]
    with old.open("a") as file:
        file.write("very last\n")
    log.write_text("first\n")
    assert reader.lines(1) == [b"very last", b"first"]


def test_a_cut_log_is_read_from_its_beginning(log: Path) -> None:
    reader = visits.AccessLog(log)
    os.truncate(log, 0)
    assert reader.lines(0) == []
    log.write_text("a\n")
    assert reader.lines(0) == [b"a"]


def test_a_log_that_comes_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    reader = visits.AccessLog(tmp_path / "access.log")
    assert reader.lines(0) == []
    (tmp_path / "access.log").write_text("a\n")
    assert reader.lines(0) == [b"a"]


def test_a_line_without_end_needs_no_memory_without_end(log: Path) -> None:
    reader = visits.AccessLog(log)
    with log.open("a") as file:
        file.write("x" * 10_000_000 + "\n" + line(200))
    lines = [entry for _ in range(5) for entry in reader.lines(0)]
    assert max(len(entry) for entry in lines) <= 2 * 64 * 1024
    assert visits.parse(lines[-1]) == (200, 0.01, 7.5)


# Questions


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(0.5)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["Host"].encode() + b" " * (200_000 if self.path == "/long" else 0))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    listener = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    yield ("127.0.0.1", listener.server_port)
    listener.shutdown()
    thread.join()
    listener.server_close()


def test_many_are_asked_at_once_and_the_slow_are_not_waited_for(
    server: tuple[str, int], tmp_path: Path
) -> None:
    queue = socket.socket(socket.AF_UNIX)
    queue.bind(str(tmp_path / "app.sock"))
    queue.listen(1)
    began = time.monotonic()
    replies = asking.ask(
        {
            "well": Question(server, "/", "www.foobar.com"),
            "hanging": Question(str(tmp_path / "app.sock"), "/"),
            "absent": Question(str(tmp_path / "none.sock"), "/"),
            "refused": Question(("127.0.0.1", 1), "/"),
        },
        0.3,
    )
    queue.close()
    assert time.monotonic() - began < 0.6
    assert (replies["well"].status, replies["well"].body) == (200, b"www.foobar.com")
    assert replies["hanging"].late
    assert replies["absent"].fault == "No such file or directory"
    assert replies["refused"].fault == "Connection refused"


def test_a_long_answer_is_cut(server: tuple[str, int]) -> None:
    assert asking.ask({"it": Question(server, "/long")}, 2)["it"].status == 200


def test_a_full_queue_counts_as_slow(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    queue = socket.socket(socket.AF_UNIX)
    queue.bind(path)
    queue.listen(0)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(path)
    reply = asking.ask({"it": Question(path, "/")}, 0.2)["it"]
    for plain in (*clients, queue):
        plain.close()
    assert reply.late
    assert "queue" in reply.fault


# Peers


def test_the_list_of_peers_is_installed_and_read_back(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.lay(places.MACHINE, WEB.to_json())
    given = {"web-2": "10.20.0.3", "web-1": "10.20.0.2"}
    assert receive_peers.receive(host, json.dumps({"peers": given}).encode()) == "2 peers: web-1, web-2"
    assert peers.load(host) == given


@pytest.mark.parametrize(
    "given",
    [
        "",
        "[]",
        "{}",
        '{"peers": {}}',
        '{"peers": {"web-1": "203.0.113.9"}}',
        '{"peers": {"web-1": 5}}',
        '{"peers": {"web 1": "10.20.0.2"}}',
        '{"peers": {"web-1": "10.20.0.2", "web-2": "10.20.0.2"}}',
        '{"peers": {"web-1": "10.20.0.2"}, "more": 1}',
        '{"peers": {"web-1": "10.20.0.2"}}' + " " * receive_peers.MAX_BYTES,
    ],
)
def test_a_wrong_list_is_refused_and_the_old_one_stays(tmp_path: Path, given: str) -> None:
    host = FakeHost(tmp_path)
    host.lay(places.MACHINE, WEB.to_json())
    host.lay(places.PEERS, '{"peers": {"web-1": "10.20.0.2"}}')
    with pytest.raises(ConfigError):
        receive_peers.receive(host, given.encode())
    assert peers.load(host) == {"web-1": "10.20.0.2"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"peers": []}'])
def test_a_list_that_cannot_be_read_is_no_list(tmp_path: Path, text: str) -> None:
    host = FakeHost(tmp_path)
    host.lay(places.PEERS, text)
    assert peers.load(host) == {}


def test_the_states_that_peers_are_told_are_known_to_the_schema() -> None:
    assert {state.value for state in State} == {"open", "closed", "held"}
