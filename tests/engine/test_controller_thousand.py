"""A pass over 1,000 members: time, memory, and calls of the clouds' APIs. The members and the lists are real, over HTTP."""

from __future__ import annotations

import asyncio
import json
import resource
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fleet.controller import clouds, memory
from fleet.controller.decide import decide
from fleet.controller.loop import Controller, Pass
from fleet.controller.probe import PORT, NetworkProber
from fleet.controller.world import World
from tests.engine.own_network import own_network
from tests.unit.test_controller_config import config, secrets

pytestmark = pytest.mark.engine

MEMBERS = 1000
PASSES = 5
# Of processors, which others do not slow down; the members and the clouds of the test are in it.
MOST_PROCESSOR_SECONDS = 4.0
MOST_MIB = 150


def private(number: int) -> str:
    return f"127.20.{number // 250}.{number % 250 + 1}"


def public(number: int) -> str:
    return f"198.18.{number // 250}.{number % 250 + 1}"


def droplet(number: int) -> dict[str, Any]:
    cards = [("public", public(number)), ("private", private(number))]
    return {
        "id": number,
        "name": f"web-{number}-{number:07x}",
        "status": "active",
        "locked": False,
        "tags": ["prod", "prod-web"],
        "image": {"id": 150000001, "name": "web-2026.11.21-3f2a"},
        "networks": {"v4": [{"type": kind, "ip_address": address} for kind, address in cards], "v6": []},
    }


class Clouds(BaseHTTPRequestHandler):
    """Both lists, in pages; every call is counted."""

    calls: list[str] = []  # noqa: RUF012 - one server, one list

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        page = int(parse_qs(asked.query)["page"][0])
        self.calls.append(asked.path)
        if asked.path == "/v2/droplets":
            rows = [droplet(number) for number in range(1, MEMBERS + 1)][(page - 1) * 200 : page * 200]
            pages = {"next": "more"} if page * 200 < MEMBERS else {}
            self._say({"droplets": rows, "links": {"pages": pages}, "meta": {"total": MEMBERS}})
        else:
            rows = [
                {
                    "id": f"{number:032x}",
                    "type": "A",
                    "name": "www.foobar.com",
                    "content": public(number),
                    "comment": f"flotilla prod web-{number}",
                }
                for number in range(1, MEMBERS + 1)
            ]
            self._say({"result": rows, "result_info": {"total_count": MEMBERS}})

    def _say(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def api() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Clouds)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def network() -> Iterator[None]:
    with own_network():
        yield


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every member, by whichever of its addresses it is asked."""
    await reader.readuntil(b"\r\n\r\n")
    now = formatdate(usegmt=True)
    status = {"state": "open", "reason": "", "recent": {"requests": 9, "errors": 0}, "cpu": 0.3}
    writer.write(
        f"HTTP/1.1 200 OK\r\nDate: {now}\r\nLast-Modified: {now}\r\n\r\n{json.dumps(status)}".encode()
    )
    await writer.drain()
    writer.close()


async def test_a_pass_over_a_thousand_members(network: None, api: str, tmp_path: Path) -> None:
    given = replace(config(), network="127.20.0.0/16", count=MEMBERS, max=MEMBERS)
    world = World(
        config=given,
        secrets=secrets(),
        droplets=clouds.droplets(secrets(), api),
        records=clouds.records(given, secrets(), edge=api),
        orders=lambda: memory.read_orders(tmp_path),
        prober=NetworkProber(),
    )
    memory.begin(tmp_path)
    controller = Controller(lambda: world, tmp_path, decide, print)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    passes: list[Pass] = []
    async with await asyncio.start_server(answer, "0.0.0.0", PORT, backlog=4096):  # noqa: S104 - a network of its own
        began, used = time.monotonic(), time.process_time()
        for _ in range(PASSES):
            passes.append(await controller.step())
        seconds, busy = (time.monotonic() - began) / PASSES, (time.process_time() - used) / PASSES
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    told = passes[-1]
    assert len(told.observation.health) == MEMBERS
    assert all(health.answered and health.fence for health in told.observation.health.values())
    assert told.decision.figures.serving == MEMBERS
    assert not [action for done in passes for action in done.decision.actions]
    lists = [Clouds.calls.count("/v2/droplets"), len(Clouds.calls) - Clouds.calls.count("/v2/droplets")]
    print(
        f"a pass over {MEMBERS} members: {seconds:.2f} s ({busy:.2f} s of processor, the members' side included), "
        f"{grown:.0f} MiB, {lists} calls in {PASSES} passes"
    )
    # One look at each cloud lasts for several passes: five pages of droplets and one of records.
    assert lists[0] % 5 == 0
    assert lists[1] == lists[0] // 5
    assert busy < MOST_PROCESSOR_SECONDS
    assert grown < MOST_MIB
