"""Who a simulated guest is and whom it lets in: what cloud-init would make of its user data and metadata.

https://docs.cloud-init.io/en/latest/reference/modules.html (ssh, users_groups)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

_HEADER = "#cloud-config"


@dataclass(frozen=True, slots=True)
class GuestIdentity:
    """`host_key` is the private ed25519 key of the SSH server, None when the guest makes up its own."""

    host_key: str | None
    authorized_keys: Mapping[str, tuple[str, ...]]  # lines by user

    @classmethod
    def read(cls, user_data: str, metadata_keys: Iterable[str]) -> GuestIdentity:
        """From what the droplet was created with; user data that is no cloud-config means nothing, as on a machine."""
        document = _cloud_config(user_data)
        authorized: dict[str, tuple[str, ...]] = {}
        # The images of the cloud let root in, so only the user data can close it.
        if not document.get("disable_root", False):
            authorized["root"] = (*metadata_keys, *_lines(document.get("ssh_authorized_keys")))
        for user in document.get("users") or ():
            if isinstance(user, dict) and isinstance(user.get("name"), str):
                own = _lines(user.get("ssh_authorized_keys"))
                authorized[user["name"]] = (*authorized.get(user["name"], ()), *own)
        keys = document.get("ssh_keys")
        private = keys.get("ed25519_private") if isinstance(keys, dict) else None
        return cls(private if isinstance(private, str) else None, authorized)


def _cloud_config(user_data: str) -> Mapping[str, Any]:
    if not user_data.startswith(_HEADER):
        return {}
    try:
        document = yaml.safe_load(user_data)
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}


def _lines(value: Any) -> tuple[str, ...]:
    return tuple(line for line in value if isinstance(line, str)) if isinstance(value, list) else ()
