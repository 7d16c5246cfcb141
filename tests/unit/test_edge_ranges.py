"""flotilla-edge-ranges: hostile, broken and honest answers; whatever comes, the last good list stays in force."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.config import Settings
from fleet.machine import edge_ranges, edge_refresh, edge_set, places
from fleet.machine.edge_ranges import UnbelievableError
from fleet.machine.edge_refresh import refresh
from fleet.machine.host import MachineError
from fleet.reading import ConfigError
from tests.unit.fake_machine import FakeClock, FakeHost, play_nginx

FOUR = ["104.16.0.0/13", "172.64.0.0/13", "173.245.48.0/20"]
SIX = ["2400:cb00::/32", "2606:4700::/32"]
Failure = (UnbelievableError, ConfigError, MachineError)


def answer(four: Any = FOUR, six: Any = SIX, **changes: Any) -> bytes:
    result = {"etag": "x", "ipv4_cidrs": four, "ipv6_cidrs": six}
    return json.dumps({"success": True, "errors": [], "messages": [], "result": result, **changes}).encode()


class Edge:
    """The edge's API, which answers as a test says."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = answer()
        self.during: Callable[[], None] = lambda: None
        self.asked = 0
        edge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                edge.asked += 1
                assert self.path == "/client/v4/ips"
                self.send_response(edge.status)
                for name, value in edge.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                half = len(edge.body) // 2
                try:
                    self.wfile.write(edge.body[:half])
                    self.wfile.flush()
                    edge.during()
                    self.wfile.write(edge.body[half:])
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=0.3)


@pytest.fixture
def edge() -> Iterator[Edge]:
    made = Edge()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A member whose last good list is the honest one."""
    made = FakeHost(tmp_path)
    made.lay(places.SETTINGS, Settings(server_names=("a.example",), edge_ranges=(*FOUR, *SIX)).to_json())
    edge_set.lay(made, (*FOUR, *SIX))
    edge_set.settle(made, (*FOUR, *SIX))
    play_nginx(made)
    return made


def test_the_same_ranges_in_another_order_change_nothing(host: FakeHost, edge: Edge) -> None:
    edge.body = answer([*reversed(FOUR), FOUR[0]], SIX)
    assert refresh(host, FakeClock(), edge.connect) == "5 ranges, as before"
    assert host.lines() == []


def test_a_new_range_is_put_in_force_everywhere(host: FakeHost, edge: Edge) -> None:
    edge.body = answer([*FOUR, "131.0.72.0/22"])
    assert refresh(host, FakeClock(), edge.connect) == "6 ranges in force"
    assert edge_set.load(host) == ("104.16.0.0/13", "131.0.72.0/22", *FOUR[1:], *SIX)
    assert "131.0.72.0/22" in (host.read(edge_set.RULES) or "")
    assert "set_real_ip_from 131.0.72.0/22;" in (host.read(edge_set.CLIENT_ADDRESS) or "")
    lines = host.lines()
    assert lines.index(f"nft --file {host.path(edge_set.RULES)}") < lines.index(
        "systemctl reload nginx.service"
    )
    assert not host.path(places.LAME_DUCK).exists()


def test_a_member_without_an_edge_asks_nobody(host: FakeHost, edge: Edge) -> None:
    host.lay(places.SETTINGS, Settings(server_names=("a.example",)).to_json())
    assert refresh(host, FakeClock(), edge.connect) == "this member has no edge"
    assert edge.asked == 0


HOSTILE = {
    "empty": b"",
    "not JSON": b"<html>captive portal</html>",
    "cut off": answer()[:-40],
    "a list": b"[]",
    "no success": answer(success=False),
    "no result": answer(result=None),
    "no ranges": answer([], []),
    "no IPv4": answer([]),
    "tiny": answer(["173.245.48.0/20"]),
    "everybody": answer([*FOUR, "0.0.0.0/0"]),
    "everybody by IPv6": answer(FOUR, [*SIX, "::/0"]),
    "half of everybody": answer(["0.0.0.0/1", "128.0.0.0/1"]),
    "private": answer([*FOUR, "10.0.0.0/8"]),
    "loopback": answer([*FOUR, "127.0.0.0/8"]),
    "link-local": answer([*FOUR, "169.254.0.0/16"]),
    "host bits": answer([*FOUR, "104.16.0.1/13"]),
    "mixed families": answer([*FOUR, "2400:cb00::/32"]),
    "numbers": answer([*FOUR, 5]),
    "an object": answer({"a": 1}),
    "injection": answer([*FOUR, "1.1.1.0/24 }; flush ruleset; #"]),
    "too many": answer([*FOUR, *(f"8.{n // 256}.{n % 256}.0/24" for n in range(1100))]),
    "half of IPv4 gone": answer(["104.16.0.0/14", "131.0.72.0/22"]),
    "most of IPv6 gone": answer(FOUR, []),
    "elsewhere": answer(["8.0.0.0/9"]),
}


@pytest.mark.parametrize("body", list(HOSTILE.values()), ids=list(HOSTILE))
def test_an_unbelievable_answer_changes_nothing(host: FakeHost, edge: Edge, body: bytes) -> None:
    before = {path: path.read_bytes() for path in host.path(places.EDGE).iterdir()}
    edge.body = body
    with pytest.raises(Failure):
        refresh(host, FakeClock(), edge.connect)
    assert {path: path.read_bytes() for path in host.path(places.EDGE).iterdir()} == before
    assert host.lines() == []


@pytest.mark.parametrize("status", [204, 301, 302, 403, 429, 500])
def test_only_a_plain_answer_counts(host: FakeHost, edge: Edge, status: int) -> None:
    edge.status = status
    edge.headers = {"Location": "https://example.com/"}
    with pytest.raises(MachineError, match=f"answers {status}"):
        refresh(host, FakeClock(), edge.connect)
    assert edge.asked == 1


def test_a_huge_answer_is_not_read_to_its_end(host: FakeHost, edge: Edge) -> None:
    edge.body = b" " * (edge_refresh.LARGEST * 4)
    with pytest.raises(MachineError, match="more than"):
        refresh(host, FakeClock(), edge.connect)


def test_an_edge_that_hangs_is_not_waited_for(host: FakeHost, edge: Edge) -> None:
    edge.during = lambda: time.sleep(0.6)
    with pytest.raises(MachineError, match="cannot be read"):
        refresh(host, FakeClock(), edge.connect)


def test_an_edge_that_drips_is_not_waited_for(host: FakeHost, edge: Edge) -> None:
    clock = FakeClock()
    edge.during = lambda: clock.pause(edge_refresh.TOTAL_SECONDS + 1)
    with pytest.raises(MachineError, match="takes more than"):
        refresh(host, clock, edge.connect)


def test_an_edge_that_cannot_be_reached_changes_nothing(host: FakeHost) -> None:
    with pytest.raises(MachineError, match="cannot be read"):
        refresh(host, FakeClock(), lambda: http.client.HTTPConnection("127.0.0.1", 1))


def test_what_the_packet_filter_refuses_is_not_laid(host: FakeHost, edge: Edge) -> None:
    edge.body = answer([*FOUR, "131.0.72.0/22"])
    host.answer("nft --check", code=1, error="no such set")
    with pytest.raises(MachineError, match="no such set"):
        refresh(host, FakeClock(), edge.connect)
    assert edge_set.load(host) == (*FOUR, *SIX)


def test_a_run_that_died_is_done_again(host: FakeHost, edge: Edge) -> None:
    edge.body = answer([*FOUR, "131.0.72.0/22"])
    host.answer("nft --file", code=1, error="killed")
    with pytest.raises(MachineError):
        refresh(host, FakeClock(), edge.connect)
    host.answer("nft --file")
    assert refresh(host, FakeClock(), edge.connect) == "6 ranges in force"


def test_ranges_may_be_split_or_joined() -> None:
    edge_ranges.check_change(["104.16.0.0/13"], ["104.16.0.0/14", "104.20.0.0/14"])
    edge_ranges.check_change(["104.16.0.0/14", "104.20.0.0/14"], ["104.16.0.0/13"])


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_answer_is_misread(data: bytes) -> None:
    with pytest.raises(Failure):
        edge_ranges.parse(data)


@given(st.lists(st.sampled_from([*FOUR, "131.0.72.0/22", "8.0.0.0/9", "162.158.0.0/15"]), max_size=6))
def test_at_least_half_of_the_addresses_stay(new: list[str]) -> None:
    try:
        edge_ranges.check_change(FOUR, new)
    except UnbelievableError:
        return
    sizes = {"104.16.0.0/13": 2**19, "172.64.0.0/13": 2**19, "173.245.48.0/20": 2**12}
    kept = sum(size for network, size in sizes.items() if network in new)
    assert kept * 2 >= sum(sizes.values())
