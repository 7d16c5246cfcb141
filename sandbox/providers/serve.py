"""The providers as servers of one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp
import grpc.aio
from pulumi.runtime.proto import provider_pb2_grpc

from sandbox.providers import cloudflare, command, digitalocean
from sandbox.providers.access import SameUserOnly
from sandbox.providers.package import Package
from sandbox.providers.service import ProviderService

PACKAGES = (digitalocean.PACKAGE, cloudflare.PACKAGE, command.PACKAGE)

# The engine's own limit for a message: a state may hold large texts.
_MESSAGE_LIMIT = 400 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
    ("grpc.max_send_message_length", _MESSAGE_LIMIT),
    # By default a second process may listen on the same port and take half of the connections.
    ("grpc.so_reuseport", 0),
]
_CONNECTIONS = 100
# Slow clouds are waited for by polling; one answer should not take longer.
_ANSWER_SECONDS = 120
_FAREWELL_SECONDS = 2.0


@asynccontextmanager
async def serving(
    ports: Mapping[str, int] | None = None, packages: Sequence[Package] = PACKAGES
) -> AsyncIterator[dict[str, int]]:
    """Serve the packages on 127.0.0.1 while inside; yields the port of each. A port of 0 or none is any free one.

    Raises: OSError when a port is taken.
    """
    wanted = ports or {}
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        services = [ProviderService(package, http) for package in packages]
        servers: list[grpc.aio.Server] = []
        bound: dict[str, int] = {}
        try:
            for package, service in zip(packages, services, strict=True):
                server = grpc.aio.server(options=_OPTIONS, interceptors=[SameUserOnly()])
                provider_pb2_grpc.add_ResourceProviderServicer_to_server(service, server)
                bound[package.name] = _bind(server, package.name, wanted.get(package.name, 0))
                await server.start()
                servers.append(server)
            yield bound
        finally:
            await asyncio.gather(*(server.stop(_FAREWELL_SECONDS) for server in servers))
            await asyncio.gather(*(service.sessions.close() for service in services))


def _bind(server: grpc.aio.Server, name: str, port: int) -> int:
    try:
        return server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise OSError(
            f"port {port} of provider {name} is taken; choose another with --{name}-port"
        ) from error
