"""Finding, awaiting and ending the processes of a sandbox, also those that a crash left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.paths import MARKER

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_KILLED_WITHIN_SECONDS = 10.0
_LISTENS = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: int  # clock ticks after boot, field 22 of /proc/<pid>/stat (proc(5))

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The identity of a living process; None when there is none (a zombie counts as none)."""
        try:
            state, started = _stat(pid)
        except OSError:
            return None
        return None if state in {"Z", "X"} else cls(pid, started)

    @classmethod
    def of_child(cls, pid: int) -> ProcessId:
        """A child of this process, ended or not: it keeps its number until it is waited for."""
        return cls(pid, _stat(pid)[1])

    @classmethod
    def read(cls, path: Path) -> ProcessId | None:
        """The living process a file of ours names, written since the host booted; else None."""
        try:
            pid, started, boot = path.read_text().split()
            named = cls(int(pid), int(started))
        except (OSError, ValueError):
            return None
        return named if boot == _BOOT_ID.read_text().strip() and named.alive() else None

    def write(self, path: Path) -> None:
        """In the form that `read` reads, which is also how a machine's runner writes itself down."""
        path.write_text(f"{self.pid} {self.started} {_BOOT_ID.read_text().strip()}\n")

    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self

    def terminate(self) -> None:
        """Ask it to end in order; nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                # Opened first and looked at second: a number given to another process in between is noticed.
                if self.alive():
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            finally:
                os.close(descriptor)

    async def wait(self) -> None:
        """Return when it has ended; it need not be a child of this process."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.alive():
                    await _readable(descriptor)
            finally:
                os.close(descriptor)


def _stat(pid: int) -> tuple[str, int]:
    """State and start time of a process."""
    # The command name, field 2, may hold spaces and parentheses: count from its end.
    state, *rest = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return state, int(rest[18])


async def _readable(descriptor: int) -> None:
    """Return when the descriptor is readable, which for that of a process means that it ended."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def of_sandbox(home: Path) -> list[int]:
    """Processes that carry the sandbox's marker in their environment, but not ourselves."""
    wanted = f"{MARKER}={home}".encode()
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0") and ProcessId.of(int(entry.name)) is not None:
            found.append(int(entry.name))
    return found


def listening_ports(pids: Iterable[int]) -> frozenset[int]:
    """TCP ports (IPv4) of the host on which any of these processes listens."""
    held = {link for pid in pids for link in _open_files(pid) if link.startswith("socket:")}
    # https://docs.kernel.org/networking/proc_net_tcp.html
    rows = (line.split() for line in (_PROC / "net/tcp").read_text().splitlines()[1:])
    return frozenset(
        int(row[1].rpartition(":")[2], 16)
        for row in rows
        if row[3] == _LISTENS and f"socket:[{row[9]}]" in held
    )


def _open_files(pid: int) -> Iterator[str]:
    """What the process has open, as the kernel names it; nothing when it has ended."""
    with contextlib.suppress(OSError):
        for link in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(link.readlink())


def command_line(pid: int) -> tuple[str, ...]:
    """The words a process was started with; none when it has ended."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in words)


def memory_bytes(pids: Iterable[int]) -> int:
    """Memory these processes take, what they share with others counted by its share (PSS, proc(5))."""
    total = 0
    for pid in pids:
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total * 1024


def end(pids: Iterable[int], *, patience: float) -> None:
    """SIGTERM, wait up to `patience` seconds for all of them together, then SIGKILL what is left."""
    _send_in_turn(pids, (signal.SIGTERM, patience), (signal.SIGKILL, _KILLED_WITHIN_SECONDS))


def kill(pids: Iterable[int]) -> None:
    """SIGKILL them, which need not be children of this process; blocks until they are gone."""
    _send_in_turn(pids, (signal.SIGKILL, _KILLED_WITHIN_SECONDS))


def _send_in_turn(pids: Iterable[int], *steps: tuple[signal.Signals, float]) -> None:
    """Send a signal and wait as long as it says, then the next one to those that are left."""
    descriptors = {}
    for pid in pids:
        try:
            descriptors[os.pidfd_open(pid)] = pid
        except ProcessLookupError:
            continue
    for chosen, wait in steps:
        for descriptor in descriptors:
            _send(descriptor, chosen)
        _await_exit(descriptors, wait)
    for descriptor in descriptors:
        os.close(descriptor)


def _send(descriptor: int, chosen: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(descriptor, chosen)
    except ProcessLookupError:
        return


def _await_exit(descriptors: dict[int, int], seconds: float) -> None:
    """Drop from `descriptors` each process that has ended, until none is left or the time is over."""
    deadline = time.monotonic() + seconds
    while descriptors and (left := deadline - time.monotonic()) > 0:
        ended, _, _ = select.select(list(descriptors), [], [], left)
        for descriptor in ended:
            os.close(descriptor)
            del descriptors[descriptor]
