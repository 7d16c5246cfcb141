"""The edge with a real HAProxy: what visitors and origins see of it."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from sandbox.edge.edge import Edge
from sandbox.edge.layout import EdgeLayout, PointOfPresence
from sandbox.edge.state import SslMode
from sandbox.network.namespaces import bind_in_namespace, in_namespace
from tests.edge_lab import FAST, SITE, Origin, Visitor, World, addresses, free_port, site

pytestmark = pytest.mark.machines


@pytest.fixture
def address() -> str:
    return f"127.77.0.{next(addresses)}"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        made = World(tmp_path, stack, [0.0])
        stack.push_async_callback(made.edge.stop)
        yield made


async def test_request_reaches_the_origin_with_cloudflares_headers(world: World) -> None:
    origin = await world.origin()
    await world.edge.start(site(origin))
    async with world.visitor() as visitor:
        response = await visitor.get(**{"CF-Connecting-IP": "6.6.6.6", "X-Forwarded-For": "7.7.7.7"})
    assert response.status == 200
    assert (response.headers["server"], len(response.headers["cf-ray"])) == ("cloudflare", 20)
    head = origin.requests[0].lower()
    assert "cf-connecting-ip: 127.0.0.1\r\n" in head
    assert "6.6.6.6" not in head
    assert head.count("x-forwarded-for") == 2
    assert "x-forwarded-proto: https\r\n" in head
    assert "cdn-loop: cloudflare" in head
    assert f"cf-ray: {response.headers['cf-ray']}".lower() in head


async def test_kept_alive_origin_connections_are_shared_by_visitors(world: World) -> None:
    origin = await world.origin()
    await world.edge.start(site(origin))
    for _ in range(4):
        async with world.visitor() as visitor:
            assert (await visitor.get()).status == 200
    assert (len(origin.requests), origin.connections) == (4, 1)


async def test_origins_are_chosen_at_random(world: World) -> None:
    origins = [await world.origin() for _ in range(3)]
    await world.edge.start(site(*origins))
    async with world.visitor() as visitor:
        for _ in range(60):
            await visitor.get()
    counts = [len(origin.requests) for origin in origins]
    assert sum(counts) == 60
    assert min(counts) > 5


async def test_full_mode_speaks_tls_and_trusts_anyone(world: World) -> None:
    origin = await world.origin(tls=world.context("somebody.else"))
    await world.edge.start(site(origin, ssl_mode=SslMode.FULL))
    async with world.visitor() as visitor:
        assert (await visitor.get()).status == 200


async def test_strict_mode_wants_a_certificate_for_the_host(world: World) -> None:
    good = await world.origin(tls=world.context(SITE))
    await world.edge.start(site(good, ssl_mode=SslMode.STRICT))
    async with world.visitor() as visitor:
        assert (await visitor.get()).status == 200
    bad = await world.origin(tls=world.context("other.foobar.com"))
    await world.edge.apply(site(bad, ssl_mode=SslMode.STRICT))
    async with world.visitor() as visitor:
        assert (await visitor.get()).status == 526


async def test_origin_without_tls_is_525(world: World, address: str) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, address, world.tls_port):
        await world.edge.start(site(Origin(address, world.tls_port), ssl_mode=SslMode.FULL))
        async with world.visitor() as visitor:
            assert (await visitor.get()).status == 525


async def test_refusing_origin_is_521(world: World) -> None:
    await world.edge.start(site(Origin("127.77.1.1", world.plain_port)))
    async with world.visitor() as visitor:
        assert (await visitor.get()).status == 521


async def test_silent_origin_is_522(world: World, address: str) -> None:
    with socket.socket() as full:
        full.bind((address, world.plain_port))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((address, world.plain_port))
        await world.edge.start(site(Origin(address, world.plain_port)))
        async with world.visitor() as visitor:
            assert (await visitor.get()).status == 522
        for filler in fillers:
            filler.close()


async def test_slow_origin_is_524(world: World) -> None:
    origin = await world.origin()

    async def silence(head: str, writer: asyncio.StreamWriter) -> None:
        return

    origin.respond = silence  # type: ignore[method-assign]
    await world.edge.start(site(origin))
    async with world.visitor() as visitor:
        assert (await visitor.get()).status == 524


async def test_own_errors_of_an_origin_pass(world: World) -> None:
    origin = await world.origin()
    origin.answer = b"HTTP/1.1 503 Mine\r\ncontent-length: 4\r\n\r\nmine"
    await world.edge.start(site(origin))
    async with world.visitor() as visitor:
        assert (await visitor.get()).status == 503


async def test_reset_on_a_pooled_connection_is_520_and_not_repeated(world: World) -> None:
    origin, other = await world.origin(), await world.origin()

    async def once(head: str, writer: asyncio.StreamWriter) -> None:
        if "/end" in head:
            writer.transport.abort()
        else:
            writer.write(origin.answer)

    origin.respond = other.respond = once  # type: ignore[method-assign]
    await world.edge.start(site(origin, other))
    async with world.visitor() as visitor:
        for _ in range(10):
            assert (await visitor.get()).status == 200
        assert (await visitor.get("/end", method="POST")).status == 520
        assert (await visitor.get("/end")).status == 520
    assert len(origin.requests) + len(other.requests) == 12


async def test_refused_connection_is_retried_on_another_origin(world: World) -> None:
    origin = await world.origin()
    dead = Origin("127.77.1.2", world.plain_port)
    await world.edge.start(site(origin, dead))
    async with world.visitor() as visitor:
        statuses = [(await visitor.get(method="POST")).status for _ in range(20)]
    assert statuses == [200] * 20
    assert len(origin.requests) == 20


async def test_only_one_retry(world: World) -> None:
    origin = await world.origin()
    dead = [Origin(f"127.77.1.{number}", world.plain_port) for number in range(2, 9)]
    await world.edge.start(site(origin, *dead))
    async with world.visitor() as visitor:
        statuses = {(await visitor.get()).status for _ in range(40)}
    assert statuses == {200, 521}


async def test_unknown_names_are_refused(world: World) -> None:
    origin = await world.origin()
    await world.edge.start(site(origin))
    async with world.visitor() as visitor:
        assert (await visitor.get(host="nothing.foobar.com")).status == 409
        assert (await visitor.get(host="other.com", scheme="http")).status == 409
        with pytest.raises(aiohttp.ClientSSLError):
            await visitor.get(host="www.other.com")
    assert origin.requests == []


async def test_record_that_leads_nowhere_is_530(world: World) -> None:
    await world.edge.start(site())
    async with world.visitor() as visitor:
        assert (await visitor.get()).status == 530


async def test_always_use_https_redirects(world: World) -> None:
    await world.edge.start(site(await world.origin(), always_use_https=True))
    async with world.visitor() as visitor:
        plain = await visitor.get("/a?b=c", scheme="http")
        ported = await visitor.get("/a?b=c", scheme="http", host=f"{SITE}:8080")
    port = world.layout.points[0].https_port
    assert (plain.status, plain.headers["location"]) == (301, f"https://{SITE}/a?b=c")
    assert ported.headers["location"] == f"https://{SITE}:{port}/a?b=c"


async def test_old_tls_is_refused_where_the_zone_says_so(world: World) -> None:
    await world.edge.start(site(await world.origin(), min_tls_version="1.3"))
    context = ssl.create_default_context(cafile=str(world.edge.ca_file))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection(
            "127.0.0.1", world.layout.points[0].https_port, ssl=context, server_hostname=SITE
        )


async def test_changed_record_needs_no_reload_and_drops_no_request(world: World) -> None:
    first, second = await world.origin(), await world.origin()
    await world.edge.start(site(first))
    process = world.edge._process.running()
    statuses: list[int] = []
    stop = asyncio.Event()

    async def visit() -> None:
        async with world.visitor() as visitor:
            while not stop.is_set():
                statuses.append((await visitor.get(method="POST")).status)

    visits = [asyncio.create_task(visit()) for _ in range(4)]
    for turn in range(6):
        while len(statuses) < 20 * (turn + 1):
            await asyncio.wait(visits, timeout=0.01)
        await world.edge.apply(site(second if turn % 2 == 0 else first))
        count = len(statuses)
        while len(statuses) < count + 8:
            await asyncio.wait(visits, timeout=0.01)
        served = second if turn % 2 == 0 else first
        served.requests.clear()
    stop.set()
    await asyncio.gather(*visits)
    assert set(statuses) == {200}
    assert world.edge._process.running() == process


async def test_reload_drops_no_request(world: World) -> None:
    origin = await world.origin()
    await world.edge.start(site(origin))
    statuses: list[int] = []
    stop = asyncio.Event()

    async def visit() -> None:
        async with world.visitor() as visitor:
            while not stop.is_set():
                statuses.append((await visitor.get(method="POST")).status)

    visits = [asyncio.create_task(visit()) for _ in range(4)]
    for turn in range(4):
        while len(statuses) < 20 * (turn + 1):
            await asyncio.wait(visits, timeout=0.01)
        await world.edge.apply(site(origin, always_use_https=turn % 2 == 0))
    stop.set()
    await asyncio.gather(*visits)
    assert set(statuses) == {200}


async def test_points_of_presence_learn_one_after_the_other(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        world = World(tmp_path, stack, [0.0, 0.3])
        stack.push_async_callback(world.edge.stop)
        old, new = await world.origin(), await world.origin()
        await world.edge.start(site(old))
        await world.edge.apply(site(new))
        async with world.visitor(0) as near, world.visitor(1) as far:
            await near.get()
            await far.get()
            assert (len(old.requests), len(new.requests)) == (1, 1)
            await world.edge.settled()
            await far.get()
        assert (len(old.requests), len(new.requests)) == (1, 2)


async def test_new_daemon_adopts_the_running_process(world: World) -> None:
    first, second = await world.origin(), await world.origin()
    await world.edge.start(site(first))
    process = world.edge._process.running()
    world.edge._unguard()  # the old daemon is dead and watches no more
    heir = Edge(world.home, world.layout)
    await heir.start(site(second))
    assert heir._process.running() == process
    async with world.visitor() as visitor:
        assert (await visitor.get()).status == 200
    assert len(second.requests) == 1
    await heir.stop()


async def test_process_that_dies_is_started_again(world: World) -> None:
    await world.edge.start(site(await world.origin()))
    process = world.edge._process.running()
    assert process is not None
    ended = os.pidfd_open(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(select.select, [ended], [], [])
    os.close(ended)
    await asyncio.wait_for(_served(world), 5)


async def _served(world: World) -> None:
    while True:
        try:
            async with world.visitor() as visitor:
                assert (await visitor.get()).status == 200
        except aiohttp.ClientConnectionError:
            await world.edge.settled()
            continue
        return


async def test_stop_leaves_no_process(world: World) -> None:
    await world.edge.start(site(await world.origin()))
    await world.edge.apply(site(await world.origin(), http2=False))
    await world.edge.stop()
    assert world.edge._process._all() == []


async def test_failures_are_logged(world: World) -> None:
    await world.edge.start(site(Origin("127.77.1.1", world.plain_port)))
    async with world.visitor() as visitor:
        await visitor.get("/lost")
    assert "/lost" in await world.edge.failures()


async def test_cloudflares_api_is_reached_through_its_edge(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        world = World(tmp_path, stack, [0.0])
        api = await world.origin()
        # It listens on the loopback address, as the daemon does.
        server = await asyncio.start_server(api.serve, "127.0.0.1", 0)
        stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]
        world.edge = Edge(tmp_path, replace(world.layout, api_port=port))
        stack.push_async_callback(world.edge.stop)
        await world.edge.start(site(await world.origin()))
        host = "api.cloudflare.com"
        async with world.visitor() as visitor:
            assert (await visitor.get("/client/v4/ips", host=host)).status == 200
            assert (await visitor.get("/_sandbox/status", host=host)).status == 404
            assert (await visitor.get("/client/v4/ips", host=host, scheme="http")).status == 409
            assert (await visitor.get()).status == 200
    assert [head.split("\r\n")[0] for head in api.requests] == ["GET /client/v4/ips HTTP/1.1"]


class _Namespace:
    """A network namespace of this test's own, in which a whole Cloudflare range is at home."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> _Namespace:
        self._ip("netns", "add", self.name)
        self._ip("-n", self.name, "link", "set", "lo", "up")
        self._ip("-n", self.name, "route", "add", "local", "173.245.48.0/20", "dev", "lo")
        return self

    def __exit__(self, *_: object) -> None:
        self._ip("netns", "del", self.name)

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    def listen(self, address: str, port: int) -> socket.socket:
        return bind_in_namespace(self.name, socket.AF_INET, socket.SOCK_STREAM, address, port)


async def test_edge_speaks_from_cloudflares_address_in_its_namespace(tmp_path: Path) -> None:
    point = PointOfPresence(
        "LHR", free_port(), free_port(), source="173.245.48.10", anycast=("173.245.48.20",)
    )
    layout = EdgeLayout(tmp_path / "edge", (point,), f"fltest{os.getpid()}-edge", FAST)
    edge = Edge(tmp_path, layout)
    try:
        # The second time it is another namespace of the same name, as after a crash of the network.
        for _ in range(2):
            with _Namespace(layout.namespace or "") as namespace:
                await _visit_through(edge, namespace)
    finally:
        await edge.stop()


async def _visit_through(edge: Edge, namespace: _Namespace) -> None:
    seen: list[str] = []

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        seen.append(writer.get_extra_info("peername")[0])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(origin, sock=namespace.listen("127.0.0.1", 80))
    await edge.start(site(Origin("127.0.0.1", 80)))
    trust = ssl.create_default_context(cafile=str(edge.ca_file))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        assert (await Visitor(session, edge.layout.points[0]).get()).status == 200
    visitor = in_namespace(namespace.name, lambda: socket.create_connection(("173.245.48.20", 443), 5))
    visitor.close()
    server.close()
    assert seen == ["173.245.48.10"]


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_edge_stays_small(world: World) -> None:
    await world.edge.start(site(await world.origin()))
    process = world.edge._process.running()
    assert process is not None
    assert _resident_bytes(process.pid) < 50 * 2**20


async def test_a_point_of_presence_can_be_made_late(world: World) -> None:
    first, second = await world.origin(), await world.origin()
    await world.edge.start(site(first))
    world.edge.delay([0.5])
    await world.edge.apply(site(second))
    async with world.visitor() as visitor:
        await visitor.get("/before")
        await world.edge.settled()
        await visitor.get("/after")
    assert [len(origin.requests) for origin in (first, second)] == [1, 1]
