"""Hear systemd-nspawn say that a machine's init runs.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sandbox.machines.port import MachineError

# Socket addresses are short, homes may be long: https://man7.org/linux/man-pages/man7/unix.7.html
_DIRECTORY = Path("/run/flotilla")


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, ready: asyncio.Future[None]) -> None:
        self._ready = ready

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if b"READY=1" in data.split(b"\n") and not self._ready.done():
            self._ready.set_result(None)


def directory(sandbox: str) -> Path:
    """Where the sockets of one sandbox are; gone after a sweep."""
    return _DIRECTORY / sandbox


@contextlib.asynccontextmanager
async def listening(sandbox: str, machine: int) -> AsyncIterator[tuple[Path, asyncio.Future[None]]]:
    """The value of NOTIFY_SOCKET for a machine, and a future that is done when its init runs."""
    place = directory(sandbox)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = place / str(machine)
    path.unlink(missing_ok=True)
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Listener(ready), family=socket.AF_UNIX, local_addr=str(path)
    )
    try:
        yield path, ready
    finally:
        transport.close()
        path.unlink(missing_ok=True)


async def ready_or_ended(ready: asyncio.Future[None], ended: asyncio.Task[None], seconds: float) -> None:
    """Return when it is ready; raises MachineError when it ended before, or is not within that time."""
    await asyncio.wait({ready, ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        raise MachineError(
            "it ended before its init ran" if ended.done() else f"no init within {seconds:.0f} s"
        )
