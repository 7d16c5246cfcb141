"""The locks that `pulumi` keeps beside the state, and whether the run that took one still lives.

The engine writes one file per run and removes it at the end; a killed run leaves its own. `pulumi cancel` removes
them all, also that of a run that is at work, so it is not used here. Layout and content of the file:
https://github.com/pulumi/pulumi/blob/v3.259.0/pkg/backend/diy/lock.go
"""

from __future__ import annotations

import enum
import json
import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from fleet.errors import FleetError

# A lock file is written in one go; one that still cannot be read after this long was cut off by the end of its run.
WRITING = timedelta(seconds=60)
# Process start times are computed from the boot time, which the kernel rounds.
CLOCK_SLACK = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Lock:
    """One run's claim to a stack."""

    path: str
    pid: int
    user: str
    host: str
    since: datetime

    def __str__(self) -> str:
        return f"pid {self.pid} of {self.user} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Torn:
    """A lock file that cannot be read: being written, or cut off."""

    path: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Process:
    """What is known of a running process."""

    name: str
    started: datetime


class Owner(enum.Enum):
    DEAD = "dead"
    ALIVE = "alive"
    ELSEWHERE = "elsewhere"  # on another host, whose processes cannot be seen from here


def parse(path: str, text: str, modified: datetime) -> Lock | Torn:
    try:
        document = json.loads(text)
        # Go writes nanoseconds, which Python's parser takes only up to microseconds.
        since = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", document["timestamp"]))
        return Lock(
            path, int(document["pid"]), document["username"], document["hostname"], since.astimezone(UTC)
        )
    except (ValueError, KeyError, TypeError):
        return Torn(path, modified)


def judge(lock: Lock | Torn, *, host: str, now: datetime, process: Callable[[int], Process | None]) -> Owner:
    """Whether the run behind a lock lives. In doubt it does: a living run's lock is never to be broken."""
    if isinstance(lock, Torn):
        return Owner.DEAD if now - lock.modified > WRITING else Owner.ALIVE
    if lock.host != host:
        return Owner.ELSEWHERE
    found = process(lock.pid)
    if found is None:
        return Owner.DEAD
    # The number was given to another process since. The name is looked at as well, because a clock that was set
    # forward makes every process look younger than it is.
    reused = found.started > lock.since + CLOCK_SLACK and found.name != "pulumi"
    return Owner.DEAD if reused else Owner.ALIVE


def running_process(pid: int) -> Process | None:
    """A process of this host by number, from /proc (proc(5)); a zombie has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime")
        )
    except (OSError, StopIteration):
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()
    if fields[0] in {"Z", "X"}:
        return None
    return Process(name, datetime.fromtimestamp(boot + int(fields[19]) / os.sysconf("SC_CLK_TCK"), UTC))


class LockStore(Protocol):
    """Where a backend keeps the locks of a stack."""

    def list(self) -> list[Lock | Torn]: ...

    def release(self, lock: Lock | Torn) -> None: ...


@dataclass(frozen=True, slots=True)
class FileLocks:
    """Locks of a stack in a `file://` backend."""

    directory: Path

    def list(self) -> list[Lock | Torn]:
        found = []
        for path in sorted(self.directory.glob("*")) if self.directory.is_dir() else []:
            # Beside a file the engine's blob store may keep its attributes.
            if path.is_file() and path.suffix != ".attrs":
                modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                found.append(parse(str(path), path.read_text(errors="replace"), modified))
        return found

    def release(self, lock: Lock | Torn) -> None:
        path = Path(lock.path)
        path.with_name(path.name + ".attrs").unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def file_root(backend_url: str, directory: Path) -> Path | None:
    """Where a `file://` backend keeps its things, None for other backends. `directory`: what a relative path is
    relative to."""
    parts = urlsplit(backend_url)
    if parts.scheme != "file":
        return None
    return directory / Path(f"{parts.netloc}{parts.path}").expanduser()


def open_locks(backend_url: str, project: str, stack: str, directory: Path) -> LockStore:
    """The locks of a stack. `directory`: see `file_root`.

    Raises FleetError for a backend whose locks cannot be looked at.
    """
    root = file_root(backend_url, directory)
    if root is None:
        parts = urlsplit(backend_url)
        raise FleetError(
            f"fleet recover looks at locks in file:// backends only, and this is {parts.scheme}://{parts.netloc}; "
            f"when you are sure that no run is at work on {stack}, use `pulumi cancel --stack {stack}`"
        )
    return FileLocks(root / ".pulumi" / "locks" / "organization" / project / stack)


@dataclass(frozen=True, slots=True)
class Sorted:
    """The locks of a stack by what may be done about them."""

    dead: list[Lock | Torn]
    held: list[tuple[Lock | Torn, Owner]]


def sort_locks(store: LockStore) -> Sorted:
    """Look at every lock of a stack, now and from this host."""
    host, now = socket.gethostname(), datetime.fromtimestamp(time.time(), UTC)
    judged = [(lock, judge(lock, host=host, now=now, process=running_process)) for lock in store.list()]
    return Sorted(
        dead=[lock for lock, owner in judged if owner is Owner.DEAD],
        held=[(lock, owner) for lock, owner in judged if owner is not Owner.DEAD],
    )


def refusal(stack: str, held: list[tuple[Lock | Torn, Owner]]) -> str:
    """Why a stack cannot be recovered now, for the operator."""
    lines = [f"stack {stack} is locked:"]
    for lock, owner in held:
        if isinstance(lock, Torn):
            lines.append(f"  a run is just taking a lock ({lock.path}); try again in a minute")
        elif owner is Owner.ALIVE:
            lines.append(f"  {lock} is at work; wait for its end, or stop it with ^C there")
        else:
            lines.append(
                f"  {lock}; only that host can tell whether the run lives: run `fleet recover` there, or when the "
                f"host is gone `pulumi cancel --stack {stack}`"
            )
    return "\n".join(lines)
