"""Trust between the edge and its origins, with a real HAProxy: which certificates each shows and accepts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from sandbox.cloudflare import origin_ca, zones
from sandbox.edge.state import EdgeState, Host, SslMode, Zone
from sandbox.store import Store
from tests.edge_lab import SITE, Origin, World
from tests.pems import Authority, new_key, private_pem, request_pem, self_signed_pem

pytestmark = pytest.mark.machines

Settings = dict[str, Any]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        made = World(tmp_path, stack, [0.0])
        stack.push_async_callback(made.edge.stop)
        yield made


def server(directory: Path, pair: str, *clients: str) -> ssl.SSLContext:
    """An origin's context: its certificate and key, and the authorities whose clients it demands, if any."""
    file = directory / "origin.pem"
    file.write_text(pair)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata="".join(clients))
    return context


def state(*origins: Origin, roots: tuple[str, ...] = (), **settings: Any) -> EdgeState:
    site = Host(SITE, tuple(origin.address for origin in origins))
    return EdgeState((Zone("foobar.com", (site,), **({"ssl": SslMode.STRICT} | settings)),), roots)


async def status(world: World) -> int:
    async with world.visitor() as visitor:
        return (await visitor.get()).status


def origin_certificate(store: Store, *names: str) -> tuple[str, str]:
    """One of Origin CA, with its key: the pair, and its id."""
    key = new_key()
    body = {"csr": request_pem(key), "hostnames": list(names), "request_type": "origin-ecc"}
    made = origin_ca.create(store, body)
    return made["certificate"] + private_pem(key), made["id"]


async def test_strict_mode_trusts_origin_ca_even_after_a_revocation(world: World, tmp_path: Path) -> None:
    store = Store(":memory:")
    zones.create(store, {"name": "foobar.com"})
    pair, identifier = origin_certificate(store, "*.foobar.com")
    origin = await world.origin(tls=server(tmp_path, pair))
    await world.edge.start(state(origin))
    assert await status(world) == 526
    await world.edge.apply(state(origin, roots=origin_ca.roots(store)))
    assert await status(world) == 200
    origin_ca.revoke(store, identifier)
    await world.edge.apply(state(origin, roots=origin_ca.roots(store), min_tls_version="1.2"))
    assert await status(world) == 200


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("other.foobar.com", {}),
        ("*.www.foobar.com", {}),
        ("www.foobar.com.evil.org", {}),
        (SITE, {"days": -0.5, "since": -2}),
        (SITE, {"since": 1}),
        (SITE, {"usage": ExtendedKeyUsageOID.CLIENT_AUTH}),
    ],
    ids=["other name", "deeper wildcard", "longer name", "expired", "not yet valid", "a client's"],
)
async def test_strict_mode_refuses(world: World, tmp_path: Path, name: str, fields: dict[str, Any]) -> None:
    authority, key = Authority(), new_key()
    pair = authority.issue(key, name, **fields) + private_pem(key)
    origin = await world.origin(tls=server(tmp_path, pair))
    await world.edge.start(state(origin, roots=(authority.pem,)))
    assert await status(world) == 526
    assert origin.requests == []


async def test_strict_mode_refuses_what_signed_itself(world: World, tmp_path: Path) -> None:
    key = new_key()
    origin = await world.origin(tls=server(tmp_path, self_signed_pem(key, SITE) + private_pem(key)))
    await world.edge.start(state(origin))
    assert await status(world) == 526
    await world.edge.apply(state(origin, ssl=SslMode.FULL))
    assert await status(world) == 200


async def test_wildcard_stands_for_one_level(world: World, tmp_path: Path) -> None:
    authority, key = Authority(), new_key()
    pair = authority.issue(key, "*.foobar.com") + private_pem(key)
    origin = await world.origin(tls=server(tmp_path, pair))
    await world.edge.start(state(origin, roots=(authority.pem,)))
    assert await status(world) == 200


class Demanding:
    """An origin behind TLS that demands client certificates, and what it was shown."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.shown: list[str] = []
        origin.respond = self._respond  # type: ignore[method-assign]

    async def _respond(self, head: str, writer: asyncio.StreamWriter) -> None:
        certificate = writer.get_extra_info("peercert")
        self.shown.append(dict(pair[0] for pair in certificate["subject"])["commonName"])
        writer.write(self.origin.answer)


async def demanding(world: World, directory: Path, *clients: str) -> Demanding:
    key = new_key()
    pair = self_signed_pem(key, SITE) + private_pem(key)
    return Demanding(await world.origin(tls=server(directory, pair, *clients)))


def client(authority: Authority, name: str, **fields: Any) -> str:
    key = new_key()
    leaf = authority.issue(key, name, usage=ExtendedKeyUsageOID.CLIENT_AUTH, **fields)
    return leaf + private_pem(key)


async def test_origin_pulls_show_the_zones_certificate(world: World, tmp_path: Path) -> None:
    authority = Authority()
    origin = await demanding(world, tmp_path, authority.pem)
    full: Settings = {"ssl": SslMode.FULL}
    await world.edge.start(state(origin.origin, **full))
    assert await status(world) >= 500
    pulls: Settings = {"ssl": SslMode.FULL, "origin_pulls": True}
    await world.edge.apply(state(origin.origin, **pulls))
    assert await status(world) >= 500  # the shared one is not ours
    mine = client(authority, "mine")
    await world.edge.apply(state(origin.origin, client_certificate=mine, **pulls))
    assert await status(world) == 200
    late = client(authority, "late", since=-2, days=-1)
    await world.edge.apply(state(origin.origin, client_certificate=late, **pulls))
    assert await status(world) >= 500
    await world.edge.apply(state(origin.origin, client_certificate="", **full))
    assert await status(world) >= 500
    assert origin.shown == ["mine"]


async def test_shared_certificate_opens_origins_that_trust_cloudflares_authority(
    world: World, tmp_path: Path
) -> None:
    world.edge.certificates.ensure()
    shared = world.edge.certificates.shared_client_authority.read_text()
    origin = await demanding(world, tmp_path, shared)
    await world.edge.start(state(origin.origin, ssl=SslMode.FULL, origin_pulls=True))
    assert await status(world) == 200
    assert origin.shown == ["origin-pull.cloudflare.net"]


async def test_keys_of_the_edge_are_its_own_and_go_with_the_setting(world: World, tmp_path: Path) -> None:
    authority = Authority()
    origin = await demanding(world, tmp_path, authority.pem)
    mine: Settings = {
        "ssl": SslMode.FULL,
        "origin_pulls": True,
        "client_certificate": client(authority, "mine"),
    }
    await world.edge.start(state(origin.origin, **mine))
    (file,) = world.layout.clients.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert "PRIVATE" not in repr(state(origin.origin, **mine))
    await world.edge.apply(state(origin.origin))
    assert list(world.layout.clients.iterdir()) == []


async def test_rotation_of_the_client_certificate_loses_no_request(tmp_path: Path) -> None:
    old, new = Authority("Old authority"), Authority("New authority")
    pairs = [client(old, "old"), client(new, "new")]
    full: Settings = {"ssl": SslMode.FULL, "origin_pulls": True}
    statuses: list[int] = []
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        world = World(tmp_path, stack, [0.0, 0.2, 0.4])
        stack.push_async_callback(world.edge.stop)
        origin = await demanding(world, tmp_path, old.pem, new.pem)
        await world.edge.start(state(origin.origin, client_certificate=pairs[0], **full))

        async def visit(point: int) -> None:
            async with world.visitor(point) as visitor:
                while not stop.is_set():
                    statuses.append((await visitor.get(method="POST")).status)

        visits = [asyncio.create_task(visit(number % 3)) for number in range(6)]
        for turn in (1, 0, 1):
            count = len(statuses)
            while len(statuses) < count + 60:
                await asyncio.wait(visits, timeout=0.01)
            await world.edge.apply(state(origin.origin, client_certificate=pairs[turn], **full))
        await world.edge.settled()
        origin.shown.clear()
        count = len(statuses)
        while len(statuses) < count + 60:
            await asyncio.wait(visits, timeout=0.01)
        stop.set()
        await asyncio.gather(*visits)
    assert set(statuses) == {200}
    assert set(origin.shown[10:]) == {"new"}


async def test_request_in_flight_outlives_a_change(world: World, tmp_path: Path) -> None:
    authority = Authority()
    origin = await demanding(world, tmp_path, authority.pem)
    arrived, answered = asyncio.Event(), asyncio.Event()

    async def slow(head: str, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await answered.wait()
        writer.write(origin.origin.answer)

    origin.origin.respond = slow  # type: ignore[method-assign]
    pulls: Settings = {"ssl": SslMode.FULL, "origin_pulls": True}
    await world.edge.start(state(origin.origin, client_certificate=client(authority, "old"), **pulls))
    visit = asyncio.create_task(status(world))
    await arrived.wait()
    await world.edge.apply(state(origin.origin, client_certificate=client(authority, "new"), **pulls))
    answered.set()
    assert await visit == 200


async def test_points_of_presence_learn_of_a_certificate_one_after_the_other(tmp_path: Path) -> None:
    authority = Authority()
    pulls: Settings = {"ssl": SslMode.FULL, "origin_pulls": True}
    async with AsyncExitStack() as stack:
        world = World(tmp_path, stack, [0.0, 0.5])
        stack.push_async_callback(world.edge.stop)
        origin = await demanding(world, tmp_path, authority.pem)
        await world.edge.start(state(origin.origin, client_certificate=client(authority, "old"), **pulls))
        await world.edge.apply(state(origin.origin, client_certificate=client(authority, "new"), **pulls))
        for point in (0, 1):
            async with world.visitor(point) as visitor:
                assert (await visitor.get()).status == 200
        assert origin.shown == ["new", "old"]
        await world.edge.settled()
        async with world.visitor(1) as visitor:
            assert (await visitor.get()).status == 200
        assert origin.shown[-1] == "new"
