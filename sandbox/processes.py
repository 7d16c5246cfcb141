"""Finding and ending the processes of a sandbox, also those that a crash left behind."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox.paths import MARKER

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: int  # clock ticks after boot, field 22 of /proc/<pid>/stat (proc(5))

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The identity of a living process; None when there is none (a zombie counts as none)."""
        try:
            stat = (_PROC / str(pid) / "stat").read_text()
        except OSError:
            return None
        # The command name, field 2, may hold spaces and parentheses: count from its end.
        state, *rest = stat.rpartition(")")[2].split()
        return None if state in {"Z", "X"} else cls(pid, int(rest[18]))

    @classmethod
    def read(cls, path: Path) -> ProcessId | None:
        """The living process a file of ours names, or None."""
        try:
            pid, started = (int(word) for word in path.read_text().split())
        except (OSError, ValueError):
            return None
        found = cls.of(pid)
        return found if found is not None and found.started == started else None

    def write(self, path: Path) -> None:
        path.write_text(f"{self.pid} {self.started}\n")


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


def end(pids: list[int], *, patience: float) -> None:
    """SIGTERM, wait up to `patience` seconds for all of them together, then SIGKILL what is left."""
    descriptors = {}
    for pid in pids:
        try:
            descriptors[os.pidfd_open(pid)] = pid
        except ProcessLookupError:
            continue
    for chosen, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
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
