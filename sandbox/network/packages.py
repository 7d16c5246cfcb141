"""The machines' only way to packages: apt-cacher-ng on the host's loopback, told the host's own mirrors and proxy.

It is independent of the service that Debian's package of the same name may have started.
Configuration: https://www.unix-ag.uni-kl.de/~bloch/acng/html/index.html
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from sandbox.paths import MARKER

_PROGRAM = "apt-cacher-ng"
_SUPPORT = Path("/usr/lib/apt-cacher-ng")
_START_SECONDS = 20.0
_PORTS = range(20000, 32768)
_STOP_SECONDS = 10.0


class PackageProxyError(Exception):
    """Packages cannot be served; the text says what is missing or what the proxy said."""


def machine_uri(uri: str) -> str:
    """How a machine names an archive: always http, so that the proxy may cache it; the proxy asks as the host would."""
    parts = urlsplit(uri)
    host = parts.hostname or ""
    return f"http://{host}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


def render_config(
    *, cache: Path, log: Path, port: int, archives: Iterable[str], upstream_proxy: str | None
) -> str:
    """apt-cacher-ng's configuration: loopback only, and nothing but the given archives (URIs of apt sources)."""
    lines = [
        f"CacheDir: {cache}",
        f"LogDir: {log}",
        f"SupportDir: {_SUPPORT}",
        "BindAddress: 127.0.0.1",
        f"Port: {port}",
        # Its default is the socket of the system's own service.
        "SocketPath:",
        "ForeGround: 1",
        "ReportPage:",
        # Only what a Remap line below names is fetched.
        "ForceManaged: 1",
        "AllowUserPorts: 0",
    ]
    for uri in sorted({uri.rstrip("/") for uri in archives}):
        name = machine_uri(uri).removeprefix("http://")
        lines.append(f"Remap-{_repository(name)}: {machine_uri(uri)} ; {uri}")
    if upstream_proxy:
        lines.append(f"Proxy: {upstream_proxy}")
    return "\n".join(lines) + "\n"


def _repository(name: str) -> str:
    """A name for a part of the cache that says where it came from and is no host name."""
    return "mirror-" + "".join(letter if letter.isalnum() else "-" for letter in name)


class PackageProxy:
    """Runs apt-cacher-ng as a child of the sandbox; it ends with the sandbox, even with a killed one."""

    def __init__(
        self, home: Path, cache: Path, *, archives: Iterable[str], upstream_proxy: str | None
    ) -> None:
        """`cache` outlives the sandbox; `archives` and `upstream_proxy` are what the host's apt uses."""
        self._home = home
        self._cache = cache
        self._archives = tuple(archives)
        self._upstream_proxy = upstream_proxy
        self._directory = home / "packages"
        self._process: asyncio.subprocess.Process | None = None
        self._lock: IO[str] | None = None
        self.port = 0

    async def start(self) -> int:
        """Start it if it does not run and return its loopback port; raises PackageProxyError with the way on."""
        if self._process is not None and self._process.returncode is None:
            return self.port
        program = _find_program()
        if not self._archives:
            raise PackageProxyError(
                "this host's apt names no archive to fetch packages from: see /etc/apt/sources.list.d"
            )
        await self.stop()
        try:
            cache, self._lock = _own_cache(self._cache)
            # The same port again after a crash of the program: the relay to it need not know.
            self.port = self.port or usable_port()
            self._write_config(cache)
            await self._launch(program)
        except BaseException:
            await self.stop()
            raise
        return self.port

    async def stop(self) -> None:
        """End it and wait until it is gone; not running is fine."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _write_config(self, cache: Path) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        log = self._directory / "log"
        log.mkdir(exist_ok=True)
        text = render_config(
            cache=cache, log=log, port=self.port, archives=self._archives, upstream_proxy=self._upstream_proxy
        )
        file = self._directory / "acng.conf"
        file.touch(mode=0o600)  # a proxy's address may hold a password
        file.write_text(text)

    async def _launch(self, program: str) -> None:
        with _notify_socket() as (ready, name), (self._directory / "output").open("wb") as output:
            self._process = process = await asyncio.create_subprocess_exec(
                # The kernel ends it when the sandbox dies without a word.
                *("setpriv", "--pdeathsig", "TERM", program, "-c", str(self._directory)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, MARKER: str(self._home), "NOTIFY_SOCKET": name},
            )
            # It says that it is ready even when it could not listen.
            if not (await _said_ready(ready, process) and await _listens(self.port)):
                said = (self._directory / "output").read_text(errors="replace").strip()
                raise PackageProxyError(
                    f"{_PROGRAM} does not listen on port {self.port}: {said or 'it said nothing'}"
                )


async def _said_ready(ready: socket.socket, process: asyncio.subprocess.Process) -> bool:
    """True when the program reported readiness (sd_notify(3)); false when it ended or said nothing in time."""
    loop = asyncio.get_running_loop()
    waits = [asyncio.ensure_future(loop.sock_recv(ready, 4096)), asyncio.ensure_future(process.wait())]
    done, pending = await asyncio.wait(waits, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return waits[0] in done


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@contextmanager
def _notify_socket() -> Iterator[tuple[socket.socket, str]]:
    """A datagram socket for sd_notify in the abstract name space: no file to remove."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.setblocking(False)
        ready.bind("")  # the kernel chooses a name
        yield ready, "@" + ready.getsockname()[1:].decode()


def _find_program() -> str:
    found = shutil.which(_PROGRAM, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        raise PackageProxyError(f"{_PROGRAM} is missing on this machine; install: apt-get install {_PROGRAM}")
    return found


def _own_cache(base: Path) -> tuple[Path, IO[str]]:
    """A cache directory that no other sandbox uses now, and the lock that holds it; usually the first one."""
    number = 0
    while True:
        directory = base if number == 0 else base.with_name(f"{base.name}-{number}")
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return directory, lock
        lock.close()
        number += 1


def usable_port() -> int:
    """A free loopback port that the program can use: it takes those from 32768 on for negative numbers."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise PackageProxyError(f"no loopback port is free between {_PORTS.start} and {_PORTS.stop - 1}")
