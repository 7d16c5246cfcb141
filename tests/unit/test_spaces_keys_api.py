"""Access keys of object storage, as the API tells them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.api.digitalocean.spaces_keys import access_keys
from sandbox.s3_keys import Access
from sandbox.store import Store
from tests.unit.cloud_api import Api, started

KEYS = "/v2/spaces/keys"
READ_WRITE = {"bucket": "datastore", "permission": "readwrite"}
FULL = {"bucket": "", "permission": "fullaccess"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


async def key(api: Api, name: str = "datastore-web", *grants: dict[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = (await api.made(KEYS, {"name": name, "grants": list(grants)}))["key"]
    return made


async def test_the_secret_is_told_once(api: Api) -> None:
    made = await key(api, "datastore-web", READ_WRITE)
    secret = made.pop("secret_key")
    assert (await api.get(f"{KEYS}/{made['access_key']}"))["key"] == made
    assert (await api.get(KEYS))["keys"] == [made]
    changed = await api.call("PUT", f"{KEYS}/{made['access_key']}", {"name": "other"})
    assert secret not in changed.content.decode()
    [known] = access_keys(api.cloud.store)
    assert (known.secret, known.access("datastore"), known.access("backups")) == (
        secret,
        Access.READWRITE,
        Access.NOTHING,
    )


async def test_a_key_changes_its_name_and_its_grants(api: Api) -> None:
    made = await key(api, "datastore-web", READ_WRITE)
    less = {"bucket": "datastore", "permission": "read"}
    for method in ("PUT", "PATCH"):
        answer = await api.call(
            method, f"{KEYS}/{made['access_key']}", {"name": f"by-{method}", "grants": [less]}
        )
        assert (answer.body["key"]["name"], answer.body["key"]["grants"]) == (f"by-{method}", [less])
    assert access_keys(api.cloud.store)[0].access("datastore") is Access.READ


async def test_full_access_is_neither_mixed_nor_converted(api: Api) -> None:
    mixed = {"name": "x", "grants": [FULL, READ_WRITE]}
    assert (await api.refused("POST", KEYS, mixed)).message.startswith("cannot mix fullaccess")
    full, scoped = await key(api, "full", FULL), await key(api, "scoped", READ_WRITE)
    for made, grants in ((full, [READ_WRITE]), (scoped, [FULL])):
        item = f"{KEYS}/{made['access_key']}"
        assert (await api.refused("PUT", item, {"name": "x", "grants": grants})).status == 400
    assert access_keys(api.cloud.store)[0].access("") is Access.FULLACCESS


async def test_a_deleted_key_is_gone(api: Api) -> None:
    item = f"{KEYS}/{(await key(api))['access_key']}"
    assert (await api.call("DELETE", item)).status == 204
    for method in ("GET", "DELETE"):
        assert (await api.refused(method, item)).status == 404
    assert access_keys(api.cloud.store) == []


async def test_keys_are_found_by_what_they_are_for(api: Api) -> None:
    web = await key(api, "web", READ_WRITE)
    await key(api, "full", FULL)
    for query in ("name=web", "bucket=datastore", "permission=readwrite", "sort=name&sort_direction=desc"):
        assert (await api.get(f"{KEYS}?{query}&per_page=1"))["keys"][0]["access_key"] == web["access_key"]
    assert (await api.refused("GET", f"{KEYS}?sort=colour")).status == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x", "grants": [{"bucket": "datastore"}]},
        {"name": "x", "grants": [{"bucket": "datastore", "permission": "admin"}]},
        {"name": "x", "grants": [{"bucket": "", "permission": "read"}]},
    ],
)
async def test_bad_keys_are_refused(api: Api, body: dict[str, Any]) -> None:
    assert (await api.refused("POST", KEYS, body)).status in (400, 422)
