"""Control groups of a sandbox's machines: one per machine, to limit, freeze and end it as a whole.

Works where cgroup v2 owns the controllers and on hybrid hosts, where v1 owns memory and v2 lies beside it.
https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.machines.port import MachineError

_SETTLED_WITHIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where the host has its control groups."""

    unified: Path
    memory: Path | None  # the v1 memory controller; None when v2 owns it
    legacy: tuple[Path, ...] = ()  # every v1 hierarchy: systemd-nspawn makes groups in its own one as well


def hierarchies(mounts: str) -> Hierarchies:
    """Read them from the text of /proc/self/mounts; raises MachineError without cgroup v2."""
    unified = memory = None
    legacy = []
    for line in mounts.splitlines():
        _, place, kind, options, *_ = line.split(" ")
        if kind == "cgroup2" and unified is None:
            unified = Path(place)
        elif kind == "cgroup":
            legacy.append(Path(place))
            if "memory" in options.split(","):
                memory = Path(place)
    if unified is None:
        raise MachineError("machines need cgroup v2: mount -t cgroup2 none /sys/fs/cgroup/unified")
    return Hierarchies(unified, memory, tuple(legacy))


class MachineCgroups:
    """The groups of one sandbox. All methods may be repeated; none of them minds a group that is not there."""

    def __init__(self, home: Path, found: Hierarchies | None = None) -> None:
        self._found = found or hierarchies(Path("/proc/self/mounts").read_text())
        # Named after the home, so that a sweep finds them when nothing else of the sandbox is left.
        digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:10]
        self.name = f"flotilla-{digest}"

    @property
    def top(self) -> Path:
        return self._found.unified / self.name

    def group(self, machine: int) -> Path:
        return self.top / str(machine)

    def create(self, machine: int, memory_mib: int) -> tuple[Path, ...]:
        """Make the groups of a machine, limited to that memory; returns v1 groups its processes must join."""
        group = self.group(machine)
        group.mkdir(parents=True, exist_ok=True)
        limit = str(memory_mib << 20)
        if self._found.memory is not None:
            old_style = self._found.memory / self.name / str(machine)
            old_style.mkdir(parents=True, exist_ok=True)
            (old_style / "memory.limit_in_bytes").write_text(limit)
            return (old_style,)
        for above in (self._found.unified, self.top, group):
            _delegate(above)
        (group / "memory.max").write_text(limit)
        return ()

    def memory(self, machine: int) -> int | None:
        """Bytes its processes and their caches hold; None when it has no group."""
        if self._found.memory is not None:
            file = self._found.memory / self.name / str(machine) / "memory.usage_in_bytes"
        else:
            file = self.group(machine) / "memory.current"
        try:
            return int(file.read_text())
        except FileNotFoundError:
            return None

    def pids(self, machine: int) -> frozenset[int]:
        """Every process of the machine, as the host numbers them."""
        found: set[int] = set()
        for directory, _, _ in os.walk(self.group(machine)):
            with contextlib.suppress(OSError):
                found.update(int(line) for line in (Path(directory) / "cgroup.procs").read_text().split())
        return frozenset(found)

    def init(self, machine: int) -> int | None:
        """The machine's init, as the host numbers it; None when it is off or systemd-nspawn has not started it yet."""
        file = self.group(machine) / "box/payload/init.scope/cgroup.procs"
        with contextlib.suppress(OSError):
            numbers = file.read_text().split()
            return int(numbers[0]) if numbers else None
        return None

    def freeze(self, machine: int) -> None:
        """Hold every process of the machine still; blocks until they are, and then its files do not change."""
        (self.group(machine) / "cgroup.freeze").write_text("1")
        _await(self.group(machine) / "cgroup.events", "frozen 1", _SETTLED_WITHIN_SECONDS)

    def thaw(self, machine: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.group(machine) / "cgroup.freeze").write_text("0")

    def kill(self, machine: int) -> None:
        """Kill all of it at once, without waiting."""
        _kill(self.group(machine))

    def end(self, machine: int) -> None:
        """Kill whatever is left of a machine and remove its groups; blocks until it is gone."""
        _end(self.group(machine))
        for hierarchy in self._found.legacy:
            _remove(hierarchy / self.name / str(machine))

    def end_all(self) -> None:
        """The same for all machines of the sandbox."""
        _end(self.top)
        for hierarchy in self._found.legacy:
            _remove(hierarchy / self.name)


def _delegate(group: Path) -> None:
    """Let the children of a group have memory limits, as far as this host can."""
    offered = (group / "cgroup.controllers").read_text().split()
    for controller in ("memory", "pids"):
        if controller in offered:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _kill(group: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (group / "cgroup.kill").write_text("1")


def _end(group: Path) -> None:
    if group.exists():
        _kill(group)
        _await(group / "cgroup.events", "populated 0", _SETTLED_WITHIN_SECONDS)
        _remove(group)


def _await(events: Path, line: str, seconds: float) -> None:
    """Block until the events file of a group has that line; the kernel wakes us at every change."""
    deadline = time.monotonic() + seconds
    with events.open() as file:
        poll = select.poll()
        poll.register(file, select.POLLPRI)
        while line not in file.read().splitlines():
            left = deadline - time.monotonic()
            if left <= 0:
                raise MachineError(f"{events.parent} did not reach `{line}` within {seconds:.0f} s")
            poll.poll(left * 1000)
            file.seek(0)


def _remove(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            Path(directory).rmdir()
