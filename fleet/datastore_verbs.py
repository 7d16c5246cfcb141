"""check, list and put as machines and the operator's desk have them alike; what they refuse, and what they show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from fleet.config import ConfigError
from fleet.datastore import (
    CREDENTIALS,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    RECORDS,
    STALE_SECONDS,
    Record,
    RecordError,
    is_sealed,
    split_key,
)
from fleet.datastore_s3 import Bucket, Listed, StoreError

MAX_LISTED: Final = 10_000
_PRIVATE: Final = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Row:
    """An object as `list` shows it."""

    key: str
    size: int
    age_seconds: float
    state: str  # of a record: fresh or stale; else empty

    def __str__(self) -> str:
        return f"{self.key:<50} {self.size:>7} B {self.age_seconds:>8.0f} s  {self.state}".rstrip()


@dataclass(frozen=True, slots=True)
class Health:
    """What `check` found."""

    versioned: bool | None  # None: the key may not ask
    fresh: dict[str, int]  # machines by role
    stale: int
    complaints: tuple[str, ...]

    @property
    def well(self) -> bool:
        return self.versioned is not False and not self.complaints

    def lines(self) -> list[str]:
        """In words."""
        counts = ", ".join(f"{count} {role}" for role, count in sorted(self.fresh.items())) or "none"
        versions = {
            True: "kept",
            False: "NOT kept: what is overwritten is lost",
            None: "this key may not ask",
        }[self.versioned]
        return [
            f"machines that speak: {counts}",
            f"machines that have gone: {self.stale}",
            f"old versions: {versions}",
            *self.complaints,
        ]


def rows(bucket: Bucket, prefix: str) -> list[Row]:
    """Objects whose keys begin so. Raises StoreError when there are more than one wants to see."""
    listing = bucket.list(prefix, limit=MAX_LISTED)
    if not listing.complete:
        raise StoreError(
            f"there are more than {MAX_LISTED} objects below {prefix!r}; name a longer beginning"
        )
    return [_row(listed, listing.now) for listed in listing.objects]


def health(bucket: Bucket) -> Health:
    """Whether the store is as machines need it; every record is read."""
    listing = bucket.list(RECORDS, limit=MAX_RECORDS)
    fresh: Counter[str] = Counter()
    stale, complaints = 0, []
    if not listing.complete:
        complaints.append(
            f"there are more than {MAX_RECORDS} objects below {RECORDS}: no machine believes them"
        )
    for listed in listing.objects:
        try:
            role, _ = split_key(listed.key)
            if listing.now - listed.modified > STALE_SECONDS:
                stale += 1
                continue
            Record.from_json(listed.key, bucket.get(listed.key, largest=MAX_RECORD_BYTES)[0])
            fresh[role] += 1
        except (RecordError, StoreError) as error:
            complaints.append(f"{listed.key!r}: {error}")
    return Health(bucket.versioned(), dict(fresh), stale, tuple(complaints))


def refuse(key: str, body: bytes) -> None:
    """Raises ConfigError for what no machine would believe, and for secrets that are not sealed."""
    if not key or key.startswith("/") or key.endswith("/") or not key.isprintable() or len(key) > 1024:
        raise ConfigError(f"{key[:80]!r} is no key; give a name such as notes/today")
    if key.startswith(RECORDS):
        try:
            Record.from_json(key, body)
        except RecordError as error:
            raise ConfigError(f"{key} is for what a machine says about itself: {error}") from None
    if key.startswith(CREDENTIALS) and not is_sealed(body):
        raise ConfigError(f"{key} is not sealed; `fleet datastore put-db-credential` seals on a machine")
    if _PRIVATE in body:
        raise ConfigError(f"the content for {key} holds a private key; nothing secret lies there in plain")


def _row(listed: Listed, now: float) -> Row:
    age = now - listed.modified
    state = ""
    if listed.key.startswith(RECORDS):
        state = "stale" if age > STALE_SECONDS else "fresh"
    return Row(listed.key, listed.size, age, state)
