"""Which machines to believe in: a pure function of what the datastore lists and of what was believed before.

The rules, each for a store that is away, stale, damaged or lies:
- an object that cannot be read, or names an address outside the VPC, changes nothing: what its key said last counts on;
- one that nobody has written for STALE_SECONDS is gone; the store's clock judges, no machine's;
- a list that is far too long, is cut off, or lacks this machine, which has just published, is no list at all.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleet.datastore import (
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    RECORDS,
    STALE_SECONDS,
    Record,
    RecordError,
    split_key,
)
from fleet.datastore_s3 import Listed, Listing, StoreError

# So many complaints are told of one list, the others only counted.
TOLD: Final = 10


class UnbelievableError(ValueError):
    """A list that cannot be the stack's; the text says why."""


@dataclass(frozen=True, slots=True)
class Known:
    """A record that was believed, and by which ETag to know that it is the same still."""

    etag: str
    record: Record


@dataclass(frozen=True, slots=True)
class View:
    """The machines of the stack by key, and what was wrong with the others."""

    members: Mapping[str, Known]
    complaints: tuple[str, ...] = field(default=())

    def addresses(self) -> dict[str, dict[str, str]]:
        """Private addresses by role and name."""
        found: dict[str, dict[str, str]] = {}
        for known in self.members.values():
            record = known.record
            found.setdefault(record.role, {})[record.name] = record.private_address
        return found


def look(
    listing: Listing, before: Mapping[str, Known], own: str, network: str, fetch: Callable[[str], bytes]
) -> View:
    """The view after a list. `own` is this machine's key; `fetch` gets an object and may raise StoreError.

    Raises UnbelievableError when the list as a whole is not to be believed.
    """
    if len(listing.objects) > MAX_RECORDS or not listing.complete:
        raise UnbelievableError(f"it lists more than {MAX_RECORDS} objects below {RECORDS}")
    if own not in {listed.key for listed in listing.objects}:
        raise UnbelievableError(f"it lists {len(listing.objects)} objects and {own} is not among them")
    members: dict[str, Known] = {}
    complaints: list[str] = []
    for listed in listing.objects:
        try:
            known = _judge(listed, listing.now, before.get(listed.key), network, fetch)
        except (RecordError, StoreError) as error:
            known = before.get(listed.key)
            kept = f"; it stays at {known.record.private_address}" if known else ""
            complaints.append(f"{_key(listed.key)} is passed over: {error}{kept}")
        if known is not None:
            members[listed.key] = known
    return View(members, _told(complaints))


def _judge(
    listed: Listed, now: float, before: Known | None, network: str, fetch: Callable[[str], bytes]
) -> Known | None:
    """What an object says; None when it is stale. Raises RecordError or StoreError when it cannot be believed."""
    split_key(listed.key)
    age = now - listed.modified
    if age > STALE_SECONDS:
        return None
    if age < -STALE_SECONDS:
        raise RecordError(f"the store wrote it {-age:.0f} s after now, by its own clock")
    if before is not None and listed.etag and before.etag == listed.etag:
        return before
    if listed.size > MAX_RECORD_BYTES:
        raise RecordError(f"it has {listed.size} bytes, and a record at most {MAX_RECORD_BYTES}")
    record = Record.from_json(listed.key, fetch(listed.key))
    if ipaddress.ip_address(record.private_address) not in ipaddress.ip_network(network):
        raise RecordError(f"{record.private_address} is not inside this stack's network {network}")
    return Known(listed.etag, record)


def _told(complaints: Sequence[str]) -> tuple[str, ...]:
    if len(complaints) <= TOLD:
        return tuple(complaints)
    return (*complaints[:TOLD], f"and {len(complaints) - TOLD} more objects are passed over")


def _key(key: str) -> str:
    text = repr(key)
    return text if len(text) <= 120 else text[:117] + "..."
