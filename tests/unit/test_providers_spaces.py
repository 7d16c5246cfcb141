"""The DigitalOcean provider's buckets and keys, against the sandbox's own API and object storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
import botocore.exceptions  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]

from sandbox.api.digitalocean.spaces_keys import access_keys
from sandbox.providers.values import UNKNOWN, Secret, Values
from sandbox.s3 import S3Server
from sandbox.s3_keys import full_access
from sandbox.store import Store
from tests.provider_client import ProviderClient, ProviderError, attached
from tests.unit.cloud_api import TOKEN, Api, served, started
from tests.unit.test_s3 import free_port

BUCKET = "digitalocean:index/spacesBucket:SpacesBucket"
KEY = "digitalocean:index/spacesKey:SpacesKey"
ROOT, SECRET = "DO00ROOT", "root-secret"
INPUTS: Values = {
    "name": "datastore-abc",
    "region": "lon1",
    "acl": "private",
    "versioning": {"enabled": True},
    "forceDestroy": True,
    "corsRules": [{"allowedMethods": ["GET"], "allowedOrigins": ["https://www.foobar.com"]}],
    "lifecycleRules": [{"enabled": True, "noncurrentVersionExpiration": {"days": 7}}],
}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


@pytest.fixture
async def storage(api: Api, tmp_path: Path) -> AsyncIterator[S3Server]:
    server = S3Server(tmp_path, free_port())

    def tell(_kinds: frozenset[str]) -> None:
        server.allow([full_access(ROOT, SECRET), *access_keys(api.cloud.store)])

    tell(frozenset())
    api.cloud.store.watch(tell)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def provider(api: Api, storage: S3Server) -> AsyncIterator[ProviderClient]:
    async with (
        served(api.app) as address,
        attached(
            "digitalocean",
            token=TOKEN,
            apiEndpoint=address,
            spacesEndpoint=storage.endpoint,
            spacesAccessId=ROOT,
            spacesSecretKey=SECRET,
        ) as client,
    ):
        yield client


def s3(storage: S3Server, key: str = ROOT, secret: str = SECRET) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=storage.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


async def test_a_bucket_lives_as_the_program_says(provider: ProviderClient, storage: S3Server) -> None:
    key, state = await provider.create(BUCKET, INPUTS)
    assert (key, state["bucketUrn"]) == ("datastore-abc", "do:space:datastore-abc")
    assert state["bucketDomainName"] == "datastore-abc.lon1.digitaloceanspaces.com"
    assert (await provider.diff(BUCKET, state, INPUTS)).changes == {}
    known, read, inputs = await provider.read(BUCKET, key, state, INPUTS)
    assert (known, read, inputs) == (key, state, INPUTS)

    imported = await provider.read(BUCKET, f"lon1,{key}", {}, {})
    assert (imported[0], imported[2]["region"], imported[2]["versioning"]) == (key, "lon1", {"enabled": True})

    owner = s3(storage)
    put = {"Bucket": key, "Key": "ips/web/web-1"}
    for content in (b"1", b"2"):
        await asyncio.to_thread(owner.put_object, **put, Body=content)
    versions = await asyncio.to_thread(owner.list_object_versions, Bucket=key)
    assert len(versions["Versions"]) == 2

    suspended = {**INPUTS, "versioning": {"enabled": False}, "lifecycleRules": []}
    changed = await provider.update(BUCKET, key, state, suspended, INPUTS)
    assert changed["versioning"] == {"enabled": False}
    assert (await provider.diff(BUCKET, changed, suspended)).changes == {}
    assert (await asyncio.to_thread(owner.get_bucket_versioning, Bucket=key))["Status"] == "Suspended"

    await asyncio.to_thread(owner.delete_object, **put)
    await provider.delete(BUCKET, key, changed, suspended)
    assert (await asyncio.to_thread(owner.list_buckets))["Buckets"] == []
    assert (await provider.read(BUCKET, key, changed, suspended))[0] == ""


async def test_what_a_bucket_needs_a_new_one_for() -> None:
    async with attached("digitalocean") as provider:
        await _plan(provider)


async def _plan(provider: ProviderClient) -> None:
    checked = await provider.check(BUCKET, "datastore", {"region": "lon1", "versioning": {"enabled": True}})
    assert checked.inputs["name"].startswith("datastore-")
    assert checked.inputs["acl"] == "private"
    state = {**checked.inputs, "versioning": {"enabled": True}}
    del state["__defaults"]
    moved = await provider.diff(BUCKET, state, {**checked.inputs, "region": "ams3"}, checked.inputs)
    assert (moved.replaces, moved.deletes_first) == (["region"], False)
    without = {name: value for name, value in checked.inputs.items() if name != "versioning"}
    assert (await provider.diff(BUCKET, state, without, checked.inputs)).changes == {}
    wrong = await provider.check(BUCKET, "datastore", {"region": "mars1"})
    assert "mars1" in wrong.failures[0]


async def test_a_full_bucket_is_kept(provider: ProviderClient, storage: S3Server) -> None:
    inputs = {**INPUTS, "forceDestroy": False}
    key, state = await provider.create(BUCKET, inputs)
    await asyncio.to_thread(s3(storage).put_object, Bucket=key, Key="a", Body=b"1")
    with pytest.raises(ProviderError, match="BucketNotEmpty"):
        await provider.delete(BUCKET, key, state, inputs)


async def test_a_key_opens_its_bucket_alone(api: Api, provider: ProviderClient, storage: S3Server) -> None:
    for name in ("datastore-abc", "backups-abc"):
        await provider.create(BUCKET, {**INPUTS, "name": name})
    grants = [{"bucket": "datastore-abc", "permission": "readwrite"}]
    inputs: Values = {"name": "datastore-web", "grants": grants}
    _, planned = await provider.create(KEY, inputs, preview=True)
    assert planned["secretKey"] is UNKNOWN
    key, state = await provider.create(KEY, inputs)
    assert isinstance(state["secretKey"], Secret)
    assert (await provider.read(KEY, key, state, inputs))[1] == state

    role = s3(storage, state["accessKey"], state["secretKey"].value)
    await asyncio.to_thread(role.put_object, Bucket="datastore-abc", Key="a", Body=b"1")
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        await asyncio.to_thread(role.put_object, Bucket="backups-abc", Key="a", Body=b"1")

    less = {**inputs, "grants": [{**grants[0], "permission": "read"}]}
    changed = await provider.update(KEY, key, state, less, inputs)
    assert changed["secretKey"] == state["secretKey"]
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        await asyncio.to_thread(role.put_object, Bucket="datastore-abc", Key="a", Body=b"2")
    await provider.delete(KEY, key, changed, less)
    assert access_keys(api.cloud.store) == []
    assert (await provider.read(KEY, key, changed, less))[0] == ""


async def test_without_credentials_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    async with attached("digitalocean", token=TOKEN, spacesEndpoint="http://127.0.0.1:9") as client:
        with pytest.raises(ProviderError, match="Spaces credentials not configured"):
            await client.create(BUCKET, INPUTS)
