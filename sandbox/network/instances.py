"""Which of the 32 sandboxes of a host this one is: a claim per number, held by the sandbox's home directory."""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.network.plan import INSTANCES
from sandbox.processes import ProcessId, of_sandbox

DIRECTORY = Path("/run/flotilla")


class InstanceError(Exception):
    """No number can be had; the text names who holds it and the way on."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim file says: whose it is, and the process that made it (a pid alone may come again)."""

    home: str
    pid: int
    started: int


class Instances:
    """Hands out numbers, one sandbox each; calls of several processes at once are serialised."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory

    def claim(self, home: Path, *, remembered: int | None = None) -> int:
        """The number of the sandbox in `home`: its own if it has one, the remembered one, else a free one.

        A sandbox's droplets have addresses out of its number's range, so a home must remember its number over reboots.
        Numbers of dead sandboxes are given to another home only when no other is left. The caller sweeps before use.
        """
        with self._locked():
            claims = self._claims()
            number = _choose(claims, str(home), remembered)
            owner = ProcessId.of(os.getpid())
            text = json.dumps(
                {"home": str(home), "pid": os.getpid(), "started": owner.started if owner else 0}
            )
            self._file(number).write_text(text + "\n")
            return number

    def held(self, home: Path) -> int | None:
        """The number that `home` holds, if any."""
        with self._locked():
            return next((number for number, claim in self._claims().items() if claim.home == str(home)), None)

    def release(self, home: Path) -> None:
        """Give back whatever number `home` holds; nothing to release is fine."""
        with self._locked():
            for number, claim in self._claims().items():
                if claim.home == str(home):
                    self._file(number).unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            lock = (self._directory / "lock").open("w")
        except OSError as error:
            raise InstanceError(
                f"cannot write in {self._directory}: {error.strerror} (root is needed)"
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _claims(self) -> dict[int, Claim]:
        claims = {}
        for number in range(INSTANCES):
            try:
                claims[number] = Claim(**json.loads(self._file(number).read_text()))
            except FileNotFoundError:
                continue
            except (ValueError, TypeError):
                # Cut short by a crash while it was written: nobody ever used it.
                self._file(number).unlink()
        return claims

    def _file(self, number: int) -> Path:
        return self._directory / f"instance-{number}"


def _choose(claims: dict[int, Claim], home: str, remembered: int | None) -> int:
    own = [number for number, claim in claims.items() if claim.home == home]
    if own:
        return own[0]
    if remembered is not None:
        holder = claims.get(remembered)
        if holder is not None and _alive(holder):
            raise InstanceError(
                f"network number {remembered} of {home} is in use by the sandbox in {holder.home}:"
                f" stop that one first (`python -m sandbox down --home {holder.home}`)"
            )
        return remembered
    # Each home prefers another number, so that one which is down for a while rarely finds its own taken.
    first = zlib.crc32(home.encode())
    order = [(first + step) % INSTANCES for step in range(INSTANCES)]
    for number in order:
        if number not in claims:
            return number
    for number in order:
        if not _alive(claims[number]):
            return number
    raise InstanceError(
        f"all {INSTANCES} sandboxes of this host are running: stop one (`python -m sandbox down`)"
    )


def _alive(claim: Claim) -> bool:
    """True while the claiming process or any other process of that sandbox runs."""
    return ProcessId(claim.pid, claim.started).alive() or bool(of_sandbox(Path(claim.home)))
