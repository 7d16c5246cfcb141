"""Host names as Cloudflare takes and shows them: lower case, without the final dot, complete."""

from __future__ import annotations

import re

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_LONGEST = 253  # RFC 1035, section 2.3.4, as text


def is_hostname(name: str, *, wildcard: bool = False) -> bool:
    """Whether it is a full name of letters, digits, hyphens and underscores; `wildcard` allows `*.` in front."""
    labels = name.split(".")
    if wildcard and labels[0] == "*":
        labels = labels[1:]
    return len(name) <= _LONGEST and bool(labels) and all(_LABEL.fullmatch(label) for label in labels)


def complete(name: str, zone: str) -> str:
    """The full name of a record: `@` is the zone itself, and a name not under the zone is taken as relative."""
    name = name.strip().lower().removesuffix(".")
    if name in ("@", "", zone):
        return zone
    return name if name.endswith(f".{zone}") else f"{name}.{zone}"
