"""The sandbox's daemon: one process that serves the clouds' APIs and keeps reality equal to the store."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack

import uvicorn

from sandbox import cloudflare, processes
from sandbox.api.app import create_app
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import spaces_keys
from sandbox.api.server import make_server
from sandbox.api.settings import CloudSettings, RateLimits
from sandbox.children import providers
from sandbox.cloudflare.guard import REQUESTS_PER_WINDOW
from sandbox.cloudflare.ranges import ip_ranges
from sandbox.config import MachineKind, SandboxConfig
from sandbox.disk import Disk, DiskFullError
from sandbox.paths import SandboxPaths
from sandbox.s3 import S3Server
from sandbox.s3_faults import storage_routes
from sandbox.s3_keys import full_access
from sandbox.site import site_routes
from sandbox.store import Store
from sandbox.world import RealWorld, RecordsOnly, SimulatedWorld, World

_log = logging.getLogger(__name__)
_READY_FD_CLOSED = -1


class Announcer:
    """Tells whoever started the daemon how far it is, one JSON document a line, until it is ready."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def progress(self, text: str) -> None:
        _log.info("%s", text)
        self._send({"progress": text})

    def failed(self, text: str) -> None:
        self._send({"error": text})
        self._close()

    def ready(self) -> None:
        self._send({"ready": True})
        self._close()

    def _send(self, message: dict[str, object]) -> None:
        if self._descriptor == _READY_FD_CLOSED:
            return
        try:
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:  # the starter was interrupted; the daemon goes on
            self._close()

    def _close(self) -> None:
        if self._descriptor != _READY_FD_CLOSED:
            os.close(self._descriptor)
            self._descriptor = _READY_FD_CLOSED


def run(paths: SandboxPaths, config: SandboxConfig, ready_fd: int) -> None:
    """Serve until SIGTERM or SIGINT; machines are then shut down in order, to boot again at the next start."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    announcer = Announcer(ready_fd)
    try:
        processes.ProcessId.of_child(os.getpid()).write(paths.daemon_pid)
        asyncio.run(_serve(paths, config, announcer))
    except Exception as error:
        # Before it is announced: whoever started this process ends it when it hears of a failure.
        _log.exception("the sandbox ends")
        announcer.failed(_explained(error, paths))
        sys.exit(1)


def _explained(error: Exception, paths: SandboxPaths) -> str:
    if isinstance(error, DiskFullError):
        return str(error)
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC
        return str(Disk(paths.home).error()) if full else f"{error} (details in {paths.log})"
    return f"{type(error).__name__}: {error} (details in {paths.log})"


async def _serve(paths: SandboxPaths, config: SandboxConfig, announcer: Announcer) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        store = Store(paths.database)
        stack.callback(store.close)
        for name in config.zones:
            if not any(zone["name"] == name for zone in store.all("cf_zone")):
                cloudflare.zones.create(store, {"name": name, "type": "full"})
        storage = S3Server(paths.home, config.ports["s3"])
        _follow_keys(storage, config, store)
        stack.push_async_callback(storage.stop)
        # Slow to start and needed by nothing else: it comes up beside the rest.
        storing = asyncio.create_task(storage.start(), name="object storage")
        cloud = await _open(stack, paths, config, store, storage, announcer)
        await stack.enter_async_context(providers(paths, config).running())
        await storing
        announcer.ready()
        await stopping.wait()
        _log.info("stopping")
        await cloud.stop(machines=True)


async def _open(
    stack: AsyncExitStack,
    paths: SandboxPaths,
    config: SandboxConfig,
    store: Store,
    storage: S3Server,
    announcer: Announcer,
) -> Cloud:
    world = _world(paths, config, store)
    stack.push_async_callback(world.close)
    ranges = ip_ranges(store)
    settings = CloudSettings(
        token=config.token,
        cloudflare_token=config.cloudflare_token,
        control_token=config.control_token,
        public_network=world.public_network,
        public_network6=world.public_network6,
        edge_ranges=(*ranges.ipv4, *ranges.ipv6),
        droplet_limit=config.droplet_limit,
        rate_limits=RateLimits() if config.rate_limits else None,
    )
    window = REQUESTS_PER_WINDOW if config.rate_limits else None
    cloud = Cloud(store, world.machines, world.network, settings, databases=world.databases)
    app = create_app(
        cloud,
        extra_routes=cloudflare.routes(store, settings, requests_per_window=window),
        control_routes=[
            *site_routes(world),
            *cloudflare.token_routes(store),
            *storage_routes(storage),
            *world.control_routes(),
        ],
        status=world.status,
    )
    server = make_server(app, config.port)
    serving = asyncio.create_task(server.serve(), name="api")
    stack.push_async_callback(_end_server, server, serving)
    announcer.progress("The APIs answer.")
    await world.open(cloud, announcer.progress)
    await cloud.start()
    return cloud


def _follow_keys(storage: S3Server, config: SandboxConfig, store: Store) -> None:
    """Let the object storage know the account's keys: the first one, and those made by the API."""

    def tell(kinds: frozenset[str]) -> None:
        if spaces_keys.KIND in kinds:
            first = full_access(config.spaces_key, config.spaces_secret)
            storage.allow([first, *spaces_keys.access_keys(store)])

    tell(frozenset({spaces_keys.KIND}))
    store.watch(tell)


def _world(paths: SandboxPaths, config: SandboxConfig, store: Store) -> World:
    match config.machines:
        case MachineKind.REAL:
            return RealWorld(paths, config, store)
        case MachineKind.SIMULATED:
            return SimulatedWorld(config, store)
        case MachineKind.NONE:
            return RecordsOnly(config, store)


async def _end_server(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    # Clients with kept-alive connections are not waited for.
    server.force_exit = True
    await serving
