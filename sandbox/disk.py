"""Room on the disk that a sandbox lives on: asked for before work begins, waited for when it runs out."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

_MIB = 1 << 20
# With less than this nothing new is begun, so that what is under way can still be written down and finished.
RESERVE_BYTES = 64 * _MIB
# The kernel tells nobody when space is freed.
_LOOK_AGAIN_SECONDS = 1.0


class DiskFullError(Exception):
    """There is no room for what was asked; the text names the disk and the way on."""


def free_bytes(place: Path) -> int:
    """What may still be written to the disk that holds `place`, or will when it is made."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


class Disk:
    """The disk of one directory; None stands for memory, which is never full."""

    def __init__(
        self,
        place: Path | None,
        free: Callable[[Path], int] = free_bytes,
        look_again_seconds: float = _LOOK_AGAIN_SECONDS,
    ) -> None:
        self._place = place
        self._free = free
        self._look_again_seconds = look_again_seconds

    def full(self) -> bool:
        return self._place is not None and self._free(self._place) < RESERVE_BYTES

    def error(self) -> DiskFullError:
        """What to raise when a write found no room."""
        if self._place is None:
            return DiskFullError("the sandbox's memory is full")
        left = self._free(self._place) // _MIB
        return DiskFullError(
            f"the disk of {self._place} is full: {left} MiB are left, and a sandbox needs {RESERVE_BYTES // _MIB}; "
            "free some space there and try again"
        )

    def require(self) -> None:
        """Raises DiskFullError unless there is room to begin something."""
        if self.full():
            raise self.error()

    async def freed(self) -> None:
        """Return when there is room again, at the earliest after a moment: the last write has just failed."""
        await asyncio.sleep(self._look_again_seconds)
        while self.full():  # noqa: ASYNC110 # freed space is no event
            await asyncio.sleep(self._look_again_seconds)
