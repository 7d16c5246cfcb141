"""SSH keys of the account, named by number or fingerprint."""

from __future__ import annotations

import base64
import hashlib

from pydantic import Field

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.errors import not_found, unprocessable
from sandbox.store import Document, Store

_KINDS = frozenset(
    {
        "ssh-rsa",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)


class NewKey(Body):
    name: str = Field(min_length=1)
    public_key: str


class KeyChange(Body):
    name: str | None = Field(default=None, min_length=1)


def fingerprint(public_key: str) -> str:
    """The MD5 fingerprint of an OpenSSH public key line, as the API names keys; 422 if it is no such line."""
    parts = public_key.split()
    try:
        blob = base64.b64decode(parts[1], validate=True)
        kind = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode("ascii")
    except (IndexError, ValueError):
        kind = ""
    if kind not in _KINDS or kind != parts[0]:
        raise unprocessable("Key invalid, key should be of the format `type key [comment]`")
    return hashlib.md5(blob, usedforsecurity=False).digest().hex(":")


def find(store: Store, identifier: str | int) -> Document | None:
    """A key by its number or its fingerprint."""
    text = str(identifier)
    if ":" in text:
        return next((key for key in store.all("ssh_key") if key["fingerprint"] == text), None)
    return store.get("ssh_key", text)


def list_all(call: Call) -> Answer:
    return call.listing("ssh_keys", call.store.all("ssh_key"))


def create(call: Call) -> Answer:
    body = call.body(NewKey)
    print_ = fingerprint(body.public_key)
    if find(call.store, print_) is not None:
        raise unprocessable("SSH Key is already in use on your account")
    number = call.store.next_number("ssh_key", first=52_000_001)
    key = {"id": number, "fingerprint": print_, "public_key": body.public_key, "name": body.name}
    call.store.put("ssh_key", number, key)
    return Answer(201, {"ssh_key": key})


def _named(call: Call) -> Document:
    key = find(call.store, call.path["key"])
    if key is None:
        raise not_found()
    return key


def show(call: Call) -> Answer:
    return Answer(200, {"ssh_key": _named(call)})


def update(call: Call) -> Answer:
    key = _named(call)
    changed = {**key, **call.body(KeyChange).sent()}
    call.store.put("ssh_key", key["id"], changed)
    return Answer(200, {"ssh_key": changed})


def delete(call: Call) -> Answer:
    call.store.delete("ssh_key", _named(call)["id"])
    return NO_CONTENT


ENDPOINTS = (
    lists("/v2/account/keys", list_all),
    Endpoint("POST", "/v2/account/keys", create),
    Endpoint("GET", "/v2/account/keys/{key}", show),
    Endpoint("PUT", "/v2/account/keys/{key}", update),
    Endpoint("DELETE", "/v2/account/keys/{key}", delete),
)
