"""Access keys of object storage: https://docs.digitalocean.com/reference/api/reference/spaces-keys/"""

from __future__ import annotations

import secrets
import string

from pydantic import Field, field_validator

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.errors import bad_request, not_found
from sandbox.s3_keys import PERMISSIONS, AccessKey
from sandbox.store import Document, Store

KIND = "spaces_key"
_FULL = "fullaccess"
_ALPHABET = string.ascii_uppercase + string.digits
_SORTS = ("created_at", "name", "access_key")


class Grant(Body):
    bucket: str
    permission: str

    @field_validator("permission")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PERMISSIONS:
            raise ValueError(f"permission must be one of {', '.join(map(repr, PERMISSIONS))}, not {value!r}")
        return value


class NewKey(Body):
    name: str = Field(min_length=1)
    grants: list[Grant] = Field(default_factory=list)


class KeyChange(Body):
    name: str | None = Field(default=None, min_length=1)
    grants: list[Grant] | None = None


def access_keys(store: Store) -> list[AccessKey]:
    """Every key of the account with its secret, for the object storage."""
    return [
        AccessKey(
            key["access_key"],
            key["secret_key"],
            tuple((grant["bucket"], grant["permission"]) for grant in key["grants"]),
        )
        for key in store.all(KIND)
    ]


def list_keys(call: Call) -> Answer:
    query = call.query
    sort, direction = query.get("sort", "created_at"), query.get("sort_direction", "desc")
    if sort not in _SORTS or direction not in ("asc", "desc"):
        raise bad_request(f"cannot sort by {sort!r} {direction!r}")
    found = [key for key in call.store.all(KIND) if _matches(key, query.get("name"))]
    for field in ("bucket", "permission"):
        if field in query:
            found = [key for key in found if any(grant[field] == query[field] for grant in key["grants"])]
    found.sort(key=lambda key: str(key[sort]), reverse=direction == "desc")
    return call.listing("keys", found, _view)


def create_key(call: Call) -> Answer:
    body = call.body(NewKey)
    grants = _grants(body.grants)
    key: Document = {
        "name": body.name,
        "access_key": "DO00" + "".join(secrets.choice(_ALPHABET) for _ in range(16)),
        "secret_key": secrets.token_urlsafe(32),
        "grants": grants,
        "created_at": call.cloud.stamp(),
    }
    call.store.put(KIND, key["access_key"], key)
    # Here and nowhere else the secret is told.
    return Answer(201, {"key": {**_view(key), "secret_key": key["secret_key"]}})


def show_key(call: Call) -> Answer:
    return Answer(200, {"key": _view(_key(call))})


def change_key(call: Call) -> Answer:
    key, body = _key(call), call.body(KeyChange)
    changed = dict(key)
    if body.name is not None:
        changed["name"] = body.name
    if body.grants is not None:
        changed["grants"] = _grants(body.grants)
        if _is_full(changed["grants"]) != _is_full(key["grants"]):
            raise bad_request("cannot convert a fullaccess key to a scoped key or vice versa.")
    call.store.put(KIND, key["access_key"], changed)
    return Answer(200, {"key": _view(changed)})


def delete_key(call: Call) -> Answer:
    call.store.delete(KIND, _key(call)["access_key"])
    return NO_CONTENT


def _key(call: Call) -> Document:
    key = call.store.get(KIND, call.path["access_key"])
    if key is None:
        raise not_found()
    return key


def _grants(wanted: list[Grant]) -> list[Document]:
    grants = [grant.sent() for grant in wanted]
    if _is_full(grants) and any(grant["permission"] != _FULL for grant in grants):
        raise bad_request("cannot mix fullaccess permission with scoped permissions.")
    for grant in grants:
        if not grant["bucket"] and grant["permission"] not in ("", _FULL):
            raise bad_request(f"a grant of {grant['permission']!r} must name its bucket")
    return grants


def _is_full(grants: list[Document]) -> bool:
    return any(grant["permission"] == _FULL for grant in grants)


def _matches(key: Document, name: str | None) -> bool:
    return name is None or key["name"] == name


def _view(key: Document) -> Document:
    return {name: value for name, value in key.items() if name != "secret_key"}


_ITEM = "/v2/spaces/keys/{access_key}"
ENDPOINTS = (
    lists("/v2/spaces/keys", list_keys, "sort", "sort_direction", "name", "bucket", "permission"),
    Endpoint("POST", "/v2/spaces/keys", create_key),
    Endpoint("GET", _ITEM, show_key),
    Endpoint("PUT", _ITEM, change_key),
    Endpoint("PATCH", _ITEM, change_key),
    Endpoint("DELETE", _ITEM, delete_key),
)
