"""What the platform serves to machines on the router: metadata and packages, without any route from there to the host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from sandbox.network.metadata import Lookup, create_metadata_app
from sandbox.network.namespaces import bind_in_namespace
from sandbox.network.plan import METADATA, PACKAGES, PACKAGES_PORT, Plan
from sandbox.network.relay import Relay

_METADATA_PORT = 80


class RouterServices:
    """Metadata for every droplet, and a relay to the package proxy on the host's loopback."""

    def __init__(self, plan: Plan, lookup: Lookup) -> None:
        self._plan = plan
        app = create_metadata_app(lookup)
        self._metadata = _Server(uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False))
        self._serving: asyncio.Task[None] | None = None
        self._relay: Relay | None = None

    async def start(self, package_port: int | None) -> None:
        """Serve, once the router exists (after the first `apply`); without a package port there are no packages.

        Raises NetworkError when an address cannot be bound.
        """
        listener = self._bind(METADATA, _METADATA_PORT)
        self._serving = asyncio.create_task(self._metadata.serve(sockets=[listener]), name="metadata service")
        await self._metadata.ready.wait()
        if package_port is not None:
            self._relay = Relay("127.0.0.1", package_port)
            await self._relay.start(self._bind(PACKAGES, PACKAGES_PORT))

    async def stop(self) -> None:
        """Close both; the router's namespace is free of sockets afterwards."""
        if self._relay is not None:
            await self._relay.stop()
            self._relay = None
        if self._serving is not None:
            self._metadata.should_exit = True
            await self._serving
            self._serving = None

    def _bind(self, address: str, port: int) -> socket.socket:
        return bind_in_namespace(self._plan.router, socket.AF_INET, socket.SOCK_STREAM, address, port)


class _Server(uvicorn.Server):
    """A server beside others in one process: signals are the daemon's business, and readiness can be awaited."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
