"""Names of resources that the program leaves unnamed."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sandbox.providers.schema import Naming

_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Proposal:
    """A name from the project's `pulumi:autonaming` setting; `name` None forbids automatic names."""

    name: str | None
    enforced: bool = False


class NamingError(Exception):
    """No name could be made; says why."""


def choose_name(naming: Naming, logical: str, seed: bytes, old: Any, proposal: Proposal | None) -> str:
    """The name that an earlier run chose, or a new one: the same for the same seed.

    `old` is the name of the last run if that was chosen here, else None.
    """
    if isinstance(old, str) and old:
        return old
    if proposal is not None:
        return _proposed(naming, logical, proposal)
    suffix = hashlib.sha256(seed).hexdigest() if seed else secrets.token_hex(_DIGITS)
    name = f"{logical}-{suffix[:_DIGITS]}"
    if len(name) > naming.limit:
        raise NamingError(
            f"name '{logical}-' plus {_DIGITS} random chars is longer than maximum length {naming.limit}; "
            "give the resource a shorter name"
        )
    return name.lower() if naming.lower_case else name


def _proposed(naming: Naming, logical: str, proposal: Proposal) -> str:
    if proposal.name is None:
        raise NamingError(f"automatic naming is disabled for '{logical}'; set its name property")
    if len(proposal.name) > naming.limit:
        raise NamingError(f"proposed name {proposal.name!r} exceeds maximum length {naming.limit}")
    return proposal.name if proposal.enforced or not naming.lower_case else proposal.name.lower()
