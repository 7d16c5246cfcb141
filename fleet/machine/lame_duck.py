"""Lame duck: nginx keeps answering, and ends each connection after its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fleet.machine import places
from fleet.machine.host import Host


def begin(host: Host) -> bool:
    """Start ending connections; False when it was so already. No reload: nginx looks at each request."""
    path = host.path(places.LAME_DUCK)
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o644)
    return True


def end(host: Host) -> None:
    host.path(places.LAME_DUCK).unlink(missing_ok=True)


@contextmanager
def lame_duck(host: Host) -> Iterator[None]:
    """A lame duck for a while; one that already was stays one."""
    ours = begin(host)
    try:
        yield
    finally:
        if ours:
            end(host)
