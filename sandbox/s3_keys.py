"""Access keys of object storage: who they are, what they may, and the file that tells the server of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

from sandbox.config import write_private


class Access(IntEnum):
    """How much a key may do with a bucket; each includes the ones before it."""

    NOTHING = 0
    READ = 1  # list it, fetch objects
    READWRITE = 2  # and put and delete objects
    FULLACCESS = 3  # and make, set up and delete buckets


# https://docs.digitalocean.com/products/spaces/reference/api/spaces-keys/: an empty permission grants nothing.
PERMISSIONS = {
    "": Access.NOTHING,
    "read": Access.READ,
    "readwrite": Access.READWRITE,
    "fullaccess": Access.FULLACCESS,
}


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key pair; `grants` are pairs of bucket and permission."""

    id: str
    secret: str
    grants: tuple[tuple[str, str], ...]

    def access(self, bucket: str) -> Access:
        """To one bucket; that to "" is to the account as a whole. Full access is to every bucket."""
        known = [(name, PERMISSIONS[permission]) for name, permission in self.grants]
        if any(access is Access.FULLACCESS for _, access in known):
            return Access.FULLACCESS
        return max((access for name, access in known if name == bucket != ""), default=Access.NOTHING)


def full_access(identifier: str, secret: str) -> AccessKey:
    return AccessKey(identifier, secret, (("", "fullaccess"),))


def write_keys(file: Path, keys: Iterable[AccessKey]) -> None:
    """Replace the keys that a server reading this file knows; it obeys from its next request on."""
    write_private(file, json.dumps([asdict(key) for key in keys]))


class KeyRing:
    """The keys in a file, read again whenever it was replaced."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[int, int] | None = None
        self._keys: dict[str, AccessKey] = {}

    def find(self, identifier: str) -> AccessKey | None:
        try:
            facts = self._file.stat()
        except FileNotFoundError:
            return None
        version = (facts.st_ino, facts.st_mtime_ns)
        if version != self._read:
            self._keys = {
                entry["id"]: AccessKey(
                    entry["id"], entry["secret"], tuple((name, right) for name, right in entry["grants"])
                )
                for entry in json.loads(self._file.read_text())
            }
            self._read = version
        return self._keys.get(identifier)
