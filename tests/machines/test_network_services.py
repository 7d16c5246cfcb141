"""Metadata and packages as a droplet reaches them: through the router, with no route to the host."""

from __future__ import annotations

import asyncio
import functools
import http.server
import os
import select
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.machines.port import MachineSpec
from sandbox.network.instances import Instances
from sandbox.network.metadata import MetadataDocument
from sandbox.network.namespaces import sweep
from sandbox.network.network import NamespaceNetwork, configure_as_machine
from sandbox.network.packages import PackageProxy, usable_port
from sandbox.network.plan import METADATA, PACKAGES, PACKAGES_PORT, public_slice
from sandbox.network.port import Attachment
from sandbox.network.services import RouterServices
from sandbox.network.vantage import Vantage
from sandbox.processes import of_sandbox
from tests.topologies import droplet, topology

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[NamespaceNetwork]:
    instances = Instances()
    instance = instances.claim(tmp_path)
    sweep(instance)
    try:
        yield NamespaceNetwork(instance, public_slice(instance))
    finally:
        sweep(instance)
        instances.release(tmp_path)


@pytest.fixture
async def web(network: NamespaceNetwork) -> Attachment:
    """A droplet whose firewall lets nothing in or out."""
    web = droplet(network.plan.public, 1, inbound=[], outbound=[])
    await network.apply(topology(web))
    await configure_as_machine(network.plan, web)
    return web


async def test_metadata_knows_the_asking_droplet(network: NamespaceNetwork, web: Attachment) -> None:
    known = {web.public.address: MetadataDocument(_machine(web))}
    services = RouterServices(network.plan, known.get)
    await services.start(None)
    try:
        answer = await _get(network, web, METADATA, 80, "/metadata/v1/hostname")
    finally:
        await services.stop()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\nweb-1")


async def test_packages_come_from_the_named_archive_only(
    network: NamespaceNetwork, web: Attachment, tmp_path: Path
) -> None:
    with _archive(tmp_path / "archive") as port:
        uri = f"http://127.0.0.1:{port}/debian"
        proxy = PackageProxy(tmp_path / "home", tmp_path / "cache", archives=[uri], upstream_proxy=None)
        services = RouterServices(network.plan, lambda _: None)
        try:
            await services.start(await proxy.start())
            allowed = await _get(network, web, PACKAGES, PACKAGES_PORT, f"{uri}/dists/trixie/InRelease")
            refused = await _get(
                network,
                web,
                PACKAGES,
                PACKAGES_PORT,
                f"http://127.0.0.1:{port}/secret/dists/trixie/InRelease",
            )
            tunnel = await _get(network, web, PACKAGES, PACKAGES_PORT, f"127.0.0.1:{port}", method="CONNECT")
        finally:
            await services.stop()
            await proxy.stop()
    assert allowed.startswith(b"HTTP/1.1 200")
    assert allowed.endswith(b"Origin: Debian\n")
    assert refused.startswith(b"HTTP/1.1 403")
    assert b" 200 " not in tunnel.splitlines()[0]


async def test_two_sandboxes_do_not_share_a_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    proxies = [
        PackageProxy(tmp_path / name, cache, archives=["http://mirror.invalid/debian"], upstream_proxy=None)
        for name in ("one", "two")
    ]
    try:
        ports = [await proxy.start() for proxy in proxies]
    finally:
        for proxy in proxies:
            await proxy.stop()
    assert ports[0] != ports[1]
    used = [
        (tmp_path / name / "packages" / "acng.conf").read_text().splitlines()[0] for name in ("one", "two")
    ]
    assert used == [f"CacheDir: {cache}", f"CacheDir: {cache}-1"]


async def test_package_proxy_ends_with_a_killed_sandbox(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from sandbox.network.packages import PackageProxy\n"
        "home = pathlib.Path(sys.argv[1])\n"
        "async def serve():\n"
        "    proxy = PackageProxy(home, home / 'cache', archives=['http://mirror.invalid/debian'], upstream_proxy=None)\n"
        "    print(await proxy.start(), flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(serve())\n"
    )
    daemon = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    port = int(await asyncio.wait_for(daemon.stdout.readline(), 20))
    (child,) = [pid for pid in of_sandbox(tmp_path) if pid != daemon.pid]
    ended = os.pidfd_open(child)
    daemon.kill()
    await daemon.wait()
    readable, _, _ = await asyncio.to_thread(select.select, [ended], [], [], 10)
    os.close(ended)
    assert readable
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def _get(
    network: NamespaceNetwork, place: Attachment, address: str, port: int, target: str, method: str = "GET"
) -> bytes:
    """One HTTP exchange from a droplet, as raw bytes."""
    vantage = Vantage(network.plan.droplet(place.droplet))
    connection: socket.socket = await asyncio.to_thread(vantage.connect, address, port)
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection)
    host = f"{address}:{port}"
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


@contextmanager
def _archive(root: Path) -> Iterator[int]:
    """A web server on the host's loopback with an archive and something beside it."""
    for place in ("debian", "secret"):
        file = root / place / "dists" / "trixie" / "InRelease"
        file.parent.mkdir(parents=True)
        file.write_text("Origin: Debian\n")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", usable_port()), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _machine(attachment: Attachment) -> MachineSpec:
    return MachineSpec(
        id=attachment.droplet,
        hostname="web-1",
        image="debian-13-x64",
        public=attachment.public,
        private=attachment.private,
        user_data="",
        ssh_keys=(),
        tags=(),
        region="lon1",
        memory_mib=1024,
        vcpus=1,
    )
