"""The edge as the cloud sees it: give it a state, and its points of presence serve that after their delays."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from sandbox.edge.certificates import EdgeCertificates
from sandbox.edge.haproxy_config import (
    ERROR_HEADER,
    ERROR_PAGES,
    NOBODY,
    SlotKey,
    backend_name,
    render,
    schemes,
    server_name,
    structure,
)
from sandbox.edge.haproxy_process import EdgeError, HaproxyProcess, Server
from sandbox.edge.layout import EdgeLayout
from sandbox.edge.slots import Slots, assign, given, of_version
from sandbox.edge.state import EdgeState

# Where iproute2 keeps named network namespaces: ip-netns(8).
NAMESPACES = Path("/run/netns")
_LOG = logging.getLogger(__name__)
# The kernel's limit for the path of a unix socket is 107 bytes; HAProxy appends ".<pid>.tmp" while it binds.
_LONGEST_SOCKET = 92
_ERROR_PAGE = (
    "HTTP/1.1 {status} Origin error\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n"
    f"{ERROR_HEADER}: {{status}}\r\n\r\n{{body}}"
)
_ERROR_BODY = "The edge got no answer from the origin: the status says why.\n"


class Edge:
    """Cloudflare's edge in one HAProxy.

    `home` is the sandbox's home, which marks the process for `down`. Every method may be called again after a
    crash; HAProxy goes on serving while no daemon runs.
    """

    def __init__(self, home: Path, layout: EdgeLayout) -> None:
        self.layout = layout
        self.certificates = EdgeCertificates(layout)
        self._process = HaproxyProcess(home, layout.config, layout.socket)
        self._views = {point.city: EdgeState() for point in layout.points}
        self._delays = {point.city: point.delay_seconds for point in layout.points}
        self._slots: dict[SlotKey, Slots] = {}
        self._given: dict[SlotKey, int] = {}  # the place that each host gave away last
        self._lock = asyncio.Lock()
        self._late: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._guarded: int | None = None  # a pidfd of the process, readable when it ends

    @property
    def ca_file(self) -> Path:
        """The authority visitors must trust (`curl --cacert`)."""
        return self.certificates.visitors_trust

    async def start(self, state: EdgeState) -> None:
        """Serve this state now at every point of presence, taking over a HAProxy that an earlier daemon left."""
        if len(str(self.layout.socket)) > _LONGEST_SOCKET:
            raise EdgeError(f"{self.layout.socket} is too long for a socket: use a shorter --home")
        self._closing.clear()
        self.certificates.ensure()
        for status in ERROR_PAGES:
            page = _ERROR_PAGE.format(status=status, length=len(_ERROR_BODY), body=_ERROR_BODY)
            self.layout.error_page(status).write_bytes(page.encode())
        async with self._lock:
            self._views = dict.fromkeys(self._views, state)
            if await self._process.description() is not None:
                self._slots = _found(await self._process.servers(), self._views)
            await self._converge()
            self._guard()

    async def apply(self, state: EdgeState) -> None:
        """Let every point of presence learn of a state, each after its delay; those without one before this returns."""
        at_once = []
        for city, seconds in self._delays.items():
            if seconds > 0:
                task = asyncio.create_task(self._learn_later(city, seconds, state))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
            else:
                at_once.append(city)
        await self._learn(at_once, state)

    def delay(self, seconds: Sequence[float]) -> None:
        """From now on let the points of presence learn of changes this late, in seconds and in their order."""
        self._delays = dict(zip(self._delays, seconds, strict=True))

    async def settled(self) -> None:
        """Return when every point of presence has learnt all that was applied so far."""
        while self._late:
            await asyncio.gather(*self._late)

    async def stop(self) -> None:
        """End HAProxy; visitors are refused from now on."""
        self._closing.set()
        await self.settled()
        async with self._lock:
            self._unguard()
            await self._process.stop()

    async def failures(self) -> str:
        """HAProxy's log lines of requests that failed, newest last; the last 128 KiB."""
        return await self._process.ask("show events failures")

    async def _learn_later(self, city: str, seconds: float, state: EdgeState) -> None:
        try:
            await asyncio.wait_for(self._closing.wait(), seconds)
        except TimeoutError:
            try:
                await self._learn([city], state)
            except EdgeError:
                _LOG.exception("the edge's point of presence %s could not take over a change", city)

    async def _learn(self, cities: list[str], state: EdgeState) -> None:
        async with self._lock:
            changed = [city for city in cities if self._views[city] != state]
            if not changed and self._process.running() is not None:
                return
            self._views |= dict.fromkeys(changed, state)
            await self._converge()

    async def _converge(self) -> None:
        """Make the process equal to the views: by readdressing servers if that is enough, else by a reload."""
        before, self._slots = self._slots, _assigned(self._views, self._slots, self._given)
        self._given = {
            key: given(before.get(key, ()), places, self._given.get(key, -1))
            for key, places in self._slots.items()
        }
        renewed = self.certificates.write(self._views)
        wanted = f"{structure(self.layout, self._views, self._slots)}.{self._network_identity()}"
        self._write(self.layout.config, render(self.layout, self._views, self._slots, wanted))
        running = await self._process.description()
        if running == wanted and not renewed:
            await self._readdress()
            if not _differences(await self._process.servers(), self._wanted()):
                self.certificates.sweep(self._views)
                return
        await self._process.check()
        if running is not None and running.partition(".")[2] != wanted.partition(".")[2]:
            # Its sockets are in a namespace that is gone, and a reload would hand them on.
            await self._process.stop()
        await self._process.load()
        self.certificates.sweep(self._views)
        self._guard()

    def _network_identity(self) -> str:
        """Tells the namespace from an earlier one of the same name."""
        if self.layout.namespace is None:
            return "host"
        file = NAMESPACES / self.layout.namespace
        try:
            return str(file.stat().st_ino)
        except FileNotFoundError as error:
            raise EdgeError(
                f"the edge's network namespace {file} is missing: make the network first"
            ) from error

    def _guard(self) -> None:
        """Have HAProxy started again when it ends by itself."""
        self._unguard()
        process = self._process.running()
        if process is not None:
            self._guarded = os.pidfd_open(process.pid)
            asyncio.get_running_loop().add_reader(self._guarded, self._ended)

    def _unguard(self) -> None:
        if self._guarded is not None:
            asyncio.get_running_loop().remove_reader(self._guarded)
            os.close(self._guarded)
            self._guarded = None

    def _ended(self) -> None:
        self._unguard()
        _LOG.warning("the edge's haproxy ended by itself and is started again")
        task = asyncio.create_task(self._revive())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _revive(self) -> None:
        async with self._lock:
            if self._closing.is_set():
                return
            try:
                await self._converge()
            except EdgeError:
                _LOG.exception("the edge's haproxy could not be started again")

    async def _readdress(self) -> None:
        """Tell the process of new addresses: those that join first, so that a host is never without an origin."""
        differences = _differences(await self._process.servers(), self._wanted())
        joining = [
            command for was, wanted in differences if wanted.ready for command in self._join(was, wanted)
        ]
        leaving = [
            f"set server {was.backend}/{was.name} state maint"
            for was, wanted in differences
            if not wanted.ready
        ]
        if joining or leaving:
            await self._process.ask(*joining, *leaving)

    def _join(self, was: Server, wanted: Server) -> list[str]:
        name = f"{was.backend}/{was.name}"
        tls = ".tls." in was.backend
        port = self.layout.origin_https_port if tls else self.layout.origin_http_port
        first = [f"set server {name} state maint"] if was.ready else []
        return [
            *first,
            f"set server {name} addr {wanted.address} port {port}",
            f"set server {name} state ready",
        ]

    def _wanted(self) -> dict[tuple[str, str], Server]:
        """Every server line as it should be, by backend and name."""
        servers = {}
        for city, state in self._views.items():
            for zone in state.zones:
                for host in zone.hosts:
                    for version in (4, 6):
                        places = self._slots.get(SlotKey(city, host.name, version), ())
                        for scheme in schemes(zone):
                            backend = backend_name(city, scheme, host.name)
                            for place, address in enumerate(places):
                                name = server_name(version, place)
                                shown = address or NOBODY[version]
                                servers[backend, name] = Server(backend, name, shown, address is not None)
        return servers

    @staticmethod
    def _write(file: Path, text: str) -> None:
        temporary = file.with_name(f".{file.name}.new")
        temporary.write_text(text)
        temporary.replace(file)


def _assigned(
    views: dict[str, EdgeState], held: dict[SlotKey, Slots], last: dict[SlotKey, int]
) -> dict[SlotKey, Slots]:
    """Places for the origins of every host at every point of presence, moving none that has one."""
    slots = {}
    for city, state in views.items():
        for zone in state.zones:
            for host in zone.hosts:
                for version in (4, 6):
                    key = SlotKey(city, host.name, version)
                    origins = of_version(host.origins, version)
                    if origins or held.get(key):
                        slots[key] = assign(held.get(key, ()), origins, last.get(key, -1))
    return slots


def _found(servers: list[Server], views: dict[str, EdgeState]) -> dict[SlotKey, Slots]:
    """The places as a running process has them."""
    by_backend: dict[str, list[Server]] = {}
    for server in servers:
        by_backend.setdefault(server.backend, []).append(server)
    slots: dict[SlotKey, Slots] = {}
    for city, state in views.items():
        for zone in state.zones:
            for host in zone.hosts:
                backend = by_backend.get(backend_name(city, schemes(zone)[0], host.name), [])
                for version in (4, 6):
                    own = [server for server in backend if server.name.startswith(f"v{version}-")]
                    if own:
                        key = SlotKey(city, host.name, version)
                        slots[key] = tuple(server.address if server.ready else None for server in own)
    return slots


def _differences(servers: list[Server], wanted: dict[tuple[str, str], Server]) -> list[tuple[Server, Server]]:
    """Pairs (as it is, as it should be) of the servers that must change; who takes no requests may have any address."""
    pairs = []
    for server in servers:
        target = wanted.get((server.backend, server.name))
        if target is None or server == target or not (server.ready or target.ready):
            continue
        pairs.append((server, target))
    return pairs
