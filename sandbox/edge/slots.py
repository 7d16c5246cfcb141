"""Places for origins inside HAProxy's backends, so that a changed record needs no reload.

A reload closes pooled connections and moves visitors to a new process; Cloudflare does neither when a record
changes. So each backend has more server lines than origins, and a change only readdresses some of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

Slots = tuple[str | None, ...]

_FEWEST = 8


def capacity(origins: int) -> int:
    """Places for this many origins: a rolling change may hold twice as many for a while."""
    size = _FEWEST
    while size < origins + origins // 2:
        size *= 2
    return size


def assign(held: Sequence[str | None], origins: Iterable[str], last: int = -1) -> Slots:
    """Give each origin a place: the one it has if it has one, else a free one; grows when full, never shrinks.

    `last` is the place that was given away last (`given`): places are used in turn, as a connection to an address
    that had the place before may still be busy, and would carry requests there once it is idle again.
    """
    wanted = list(dict.fromkeys(origins))
    size = max(len(held), capacity(len(wanted))) if len(wanted) > len(held) or not held else len(held)
    places = [address if address in wanted else None for address in held]
    places += [None] * (size - len(places))
    missing = [address for address in wanted if address not in places]
    free = [place for place, address in enumerate(places) if address is None]
    free.sort(key=lambda place: (place < len(held) and held[place] is not None, (place - last - 1) % size))
    for address, place in zip(missing, free, strict=False):
        places[place] = address
    return tuple(places)


def given(before: Sequence[str | None], after: Slots, last: int = -1) -> int:
    """The place that was given away last, once `after` has followed from `before`."""
    size = len(after)
    new = [
        place
        for place, address in enumerate(after)
        if address is not None and (place >= len(before) or before[place] != address)
    ]
    return max(new, key=lambda place: (place - last - 1) % size, default=last)


def of_version(origins: Iterable[str], version: int) -> list[str]:
    """The IPv4 or IPv6 addresses among the origins: a server line's source address fixes its family."""
    return [address for address in origins if ip_address(address).version == version]
