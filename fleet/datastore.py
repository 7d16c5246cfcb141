"""What lies in a stack's datastore, and how it is read: by machines and by the operator's desk.

A machine publishes its facts as `ips/<role>/<name>` and writes them again every minute; the store's own clock says
how old they are, so no machine's clock matters. Whatever is wrong with one object is told by a RecordError.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Self

from fleet.reading import ConfigError, decode_object

VERSION: Final = 1
RECORDS: Final = "ips/"
CREDENTIALS: Final = "credentials/"
DATABASE_CREDENTIAL: Final = f"{CREDENTIALS}database"

PUBLISH_SECONDS: Final = 60
STALE_SECONDS: Final = 300
# As many members as a stack may have, and some that have just gone.
MAX_RECORDS: Final = 2000
MAX_RECORD_BYTES: Final = 4096

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ROLE = re.compile(r"[a-z]{1,20}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_FACT = re.compile(r"[A-Za-z0-9._-]{0,64}")


class RecordError(ValueError):
    """An object in the datastore cannot be what its key says; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one machine says about itself."""

    role: str
    name: str  # the machine's own, such as web-1-3fa2c1b: during a rollout a slot has two
    address: str  # public; empty when it has none
    private_address: str
    at: str  # since when it is so, by the machine's clock (RFC 3339); nothing depends on it
    image: str  # how the digest of its image's manifest begins
    release: str

    @property
    def key(self) -> str:
        return record_key(self.role, self.name)

    def to_json(self) -> bytes:
        return (json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True) + "\n").encode()

    def same_facts(self, other: Record | None) -> bool:
        """Whether nothing has changed but the time."""
        return other is not None and {**asdict(self), "at": ""} == {**asdict(other), "at": ""}

    @classmethod
    def from_json(cls, key: str, text: bytes) -> Self:
        """Read the object with this key. Keys that a later program may have added are passed over."""
        role, name = split_key(key)
        if len(text) > MAX_RECORD_BYTES:
            raise RecordError(f"it has more than {MAX_RECORD_BYTES} bytes")
        try:
            document = decode_object("the record", text)
        except ConfigError as error:
            raise RecordError(str(error)) from None
        version = document.get("version")
        if version != VERSION or isinstance(version, bool):
            raise RecordError(f"its version is {_shown(version)}; this program reads version {VERSION}")
        if (document.get("role"), document.get("name")) != (role, name):
            raise RecordError(f"it is about {_shown(document.get('role'))} {_shown(document.get('name'))}")
        return cls(
            role=role,
            name=name,
            address=_address(document, "address", empty=True),
            private_address=_address(document, "private_address", empty=False),
            at=_time(document),
            image=_matching(document, "image"),
            release=_matching(document, "release"),
        )


def record_key(role: str, name: str) -> str:
    return f"{RECORDS}{role}/{name}"


def split_key(key: str) -> tuple[str, str]:
    """Role and name in the key of a record."""
    parts = key.removeprefix(RECORDS).split("/")
    if (
        not key.startswith(RECORDS)
        or len(parts) != 2
        or not _ROLE.fullmatch(parts[0])
        or not _NAME.fullmatch(parts[1])
    ):
        raise RecordError("its key is not ips/<role>/<name>")
    return parts[0], parts[1]


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise RecordError(f"its {key} is {_shown(value)}, not a text")
    return value


def _address(document: Mapping[str, Any], key: str, *, empty: bool) -> str:
    text = _text(document, key)
    if not text and empty:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise RecordError(f"its {key} is {_shown(text)}, not an IP address") from None


def _time(document: Mapping[str, Any]) -> str:
    text = _text(document, "at")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RecordError(f"its at is {_shown(text)}, not a time") from None
    if moment.tzinfo is None:
        raise RecordError(f"its at is {_shown(text)}, which has no time zone")
    return text


def _matching(document: Mapping[str, Any], key: str) -> str:
    text = _text(document, key)
    if not _FACT.fullmatch(text):
        raise RecordError(f"its {key} is {_shown(text)}, which does not fit {_FACT.pattern}")
    return text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_sealed(text: bytes) -> bool:
    """Whether it looks like what fleet/machine/datastore_seal.py makes; only opening it proves more."""
    try:
        document = decode_object("the object", text)
    except ConfigError:
        return False
    return set(document) == {"version", "cipher", "nonce", "sealed"} and all(
        isinstance(document[key], str) and _BASE64.fullmatch(document[key]) for key in ("nonce", "sealed")
    )
