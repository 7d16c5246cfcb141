"""A laboratory for the edge: a real HAProxy, origins on loopback addresses of their own, and visitors."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from sandbox.edge.authority import EdgeAuthority
from sandbox.edge.edge import Edge
from sandbox.edge.layout import EdgeLayout, PointOfPresence, Timing
from sandbox.edge.state import EdgeState, Host, SslMode, Zone

SITE = "www.foobar.com"
FAST = Timing(connect=0.5, read=0.6, origin_keepalive=60.0, visitor_keepalive=5.0)
addresses = itertools.count(2)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """A web server on a loopback address of its own; remembers the requests and counts the connections."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self.requests: list[str] = []
        self.connections = 0
        self.answer = b"HTTP/1.1 200 OK\r\nserver: origin\r\ncontent-length: 2\r\n\r\nok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head)
                await self.respond(head, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def respond(self, head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(self.answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class World:
    """An edge of one or more points of presence, and origins on one pair of ports."""

    def __init__(self, home: Path, stack: AsyncExitStack, delays: Sequence[float]) -> None:
        self._stack = stack
        self.plain_port, self.tls_port = free_port(), free_port()
        cities = ("LHR", "FRA", "AMS")
        points = tuple(
            PointOfPresence(city, free_port(), free_port(), delay)
            for city, delay in zip(cities, delays, strict=False)
        )
        self.layout = EdgeLayout(home / "edge", points, None, FAST, self.plain_port, self.tls_port)
        self.edge = Edge(home, self.layout)
        self.home = home

    async def origin(self, *, tls: ssl.SSLContext | None = None) -> Origin:
        address = f"127.77.{next(addresses)}.1"
        origin = Origin(address, self.tls_port if tls else self.plain_port)
        server = await asyncio.start_server(origin.serve, address, origin.port, ssl=tls)
        self._stack.callback(server.close)
        return origin

    def context(self, name: str) -> ssl.SSLContext:
        """A server context with a certificate of the edge's own authority."""
        file = self.home / f"{name}.pem"
        authority = EdgeAuthority(self.layout.directory)
        authority.ensure()
        authority.issue(file, [name])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    @asynccontextmanager
    async def visitor(self, point: int = 0) -> AsyncIterator[Visitor]:
        trust = ssl.create_default_context(cafile=str(self.edge.ca_file))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
            yield Visitor(session, self.layout.points[point])


class Visitor:
    """Somebody with a browser: names resolve to the chosen point of presence."""

    def __init__(self, session: aiohttp.ClientSession, point: PointOfPresence) -> None:
        self._session = session
        self._point = point

    async def get(
        self, path: str = "/", host: str = SITE, scheme: str = "https", method: str = "GET", **headers: str
    ) -> aiohttp.ClientResponse:
        port = self._point.https_port if scheme == "https" else self._point.http_port
        async with self._session.request(
            method,
            f"{scheme}://127.0.0.1:{port}{path}",
            headers={"Host": host, **headers},
            server_hostname=host if scheme == "https" else None,
            allow_redirects=False,
        ) as response:
            await response.read()
            return response


def site(*origins: Origin, ssl_mode: SslMode = SslMode.FLEXIBLE, **settings: object) -> EdgeState:
    host = Host(SITE, tuple(origin.address for origin in origins))
    return EdgeState((Zone("foobar.com", (host,), ssl_mode, **settings),))  # type: ignore[arg-type]
