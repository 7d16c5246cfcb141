"""One lock for all that installs something on the machine."""

from __future__ import annotations

import fcntl
from typing import BinaryIO, Final

from fleet.machine.host import Host

LOCK: Final = "/run/flotilla/receive.lock"


def only_one(host: Host) -> BinaryIO:
    """Wait for another run to end; the lock is held until the file is closed."""
    path = host.path(LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
