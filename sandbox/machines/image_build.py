"""What all builds of images share: one at a time per cache, a script that leaves nothing running, signs of life."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from sandbox.machines.port import MachineError

Progress = Callable[[str], None]

_HEARTBEAT_SECONDS = 5.0


@contextlib.asynccontextmanager
async def locked(path: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold the lock of a store of images; waits for whoever builds there."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Waiting for another build of this image")
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield


def free_place(store: Path, digest: str) -> Path:
    """A forced build lies beside the one it follows: disks of machines are differences to that very one."""
    place, number = store / digest, 1
    while place.exists():
        number += 1
        place = store / f"{digest}-{number}"
    return place


async def run_script(script: Path, environment: Mapping[str, str], what: str, progress: Progress) -> None:
    """Run a build script in mount and process namespaces of its own; its lines `STEP ...` are passed on.

    Raises MachineError that says `what` failed, at which step, and the script's last lines.
    """
    # The first process dies with us and takes its namespace along: no chroot, mount or download is left.
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"),
        *("sh", str(script)),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    output = process.stdout or asyncio.StreamReader()  # a pipe was asked for, so it is there
    try:
        step, tail = await _follow(output, progress)
        code = await process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code != 0:
        raise MachineError(f"{what} failed at: {step}\n" + "\n".join(f"  {line}" for line in tail))


async def _follow(output: asyncio.StreamReader, progress: Progress) -> tuple[str, list[str]]:
    """Pass on steps at once and a sign of life in between; returns the last step and the last lines."""
    step, tail, last = "Starting", [""], 0.0
    while True:
        try:
            raw = await asyncio.wait_for(output.readline(), _HEARTBEAT_SECONDS)
        except TimeoutError:
            progress(f"{step} ... {tail[-1]}")
            last = time.monotonic()
            continue
        if not raw:
            return step, tail[1:]
        line = raw.decode(errors="replace").strip()
        if line.startswith("STEP "):
            step = line.removeprefix("STEP ")
            progress(step)
            last = time.monotonic()
        elif line:
            tail = [*tail[-12:], line]
            if time.monotonic() - last > _HEARTBEAT_SECONDS:
                progress(f"{step} ... {line[:100]}")
                last = time.monotonic()
