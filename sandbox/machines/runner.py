"""The small process that keeps a machine running: start it, find it again, wait for its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("runner.sh")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Field 22 of /proc/PID/stat, counted after the name in parentheses.
# https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
_STATE, _START_TIME = 0, 19


@dataclass(frozen=True, slots=True)
class Runner:
    """A living runner, told from any later process of the same number by its start time."""

    pid: int
    start_time: str

    @classmethod
    def find(cls, pid_file: Path) -> Runner | None:
        """The runner that wrote the file, if it lives and wrote it since the host booted."""
        try:
            pid, start_time, boot = pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        runner = cls(int(pid), start_time)
        return runner if boot == _BOOT_ID.read_text().strip() and runner.alive() else None

    @classmethod
    def of(cls, pid: int) -> Runner:
        """A child of this process, which keeps its number until it is waited for."""
        return cls(pid, _stat(pid)[_START_TIME])

    def alive(self) -> bool:
        try:
            fields = _stat(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return fields[_START_TIME] == self.start_time and fields[_STATE] not in "ZX"

    def terminate(self) -> None:
        """Ask for an orderly shutdown of the machine."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive():
                os.kill(self.pid, signal.SIGTERM)

    async def wait(self) -> None:
        """Return when it has ended; it need not be a child of this process."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # Opened first and looked at second: a number given to another process in between is noticed.
            if self.alive():
                await readable(handle)
        finally:
            os.close(handle)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


async def readable(handle: int) -> None:
    """Return when the file descriptor is readable, which for a pidfd means that the process ended."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(handle, wake)
    try:
        await ready
    finally:
        loop.remove_reader(handle)


def marked_runners(home: Path, marker: str) -> frozenset[int]:
    """Processes of machines of that sandbox, found by their environment when every file about them is gone."""
    wanted = f"{marker}={home}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if any(Path(os.fsdecode(word)).name in {SCRIPT.name, "systemd-nspawn"} for word in words[:4]):
                found.add(int(entry.name))
    return frozenset(found)


def kill_and_wait(pids: frozenset[int], seconds: float) -> None:
    """Kill processes that need not be children of this one; blocks until they are gone or the time is over."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            os.kill(pid, signal.SIGKILL)
            select.select([handle], [], [], seconds)
        except ProcessLookupError:
            continue
        finally:
            os.close(handle)
