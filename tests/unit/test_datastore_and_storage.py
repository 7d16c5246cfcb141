"""The fleet's datastore over the sandbox's object storage: what each does alone must fit together."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]  # ships no types
import pytest

from fleet.datastore_s3 import Bucket, ConflictError, DeniedError, Place
from fleet.datastore_signature import Keys
from fleet.datastore_verbs import health
from sandbox.s3 import S3Server
from sandbox.s3_keys import AccessKey, full_access
from tests.unit.test_s3 import free_port

OWNER, ROLE = Keys("DO00OWNER", "owner-secret"), Keys("DO00ROLE", "role-secret")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[S3Server]:
    """With two buckets, and the key of a role to one of them."""
    made = S3Server(tmp_path, free_port())
    role = AccessKey(ROLE.access, ROLE.secret, (("datastore", "readwrite"),))
    made.allow([full_access(OWNER.access, OWNER.secret), role])
    await made.start()
    await asyncio.to_thread(_furnish, made.endpoint)
    yield made
    await made.stop()


def _furnish(endpoint: str) -> None:
    owner = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=OWNER.access,
        aws_secret_access_key=OWNER.secret,
    )
    for name in ("datastore", "backups"):
        where = {"LocationConstraint": "lon1"}
        owner.create_bucket(Bucket=name, CreateBucketConfiguration=where)
        owner.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})


def opened(server: S3Server, name: str = "datastore", keys: Keys = ROLE) -> Bucket:
    address = urlsplit(server.endpoint).netloc
    place = Place(server.endpoint, name, "lon1")
    return Bucket(place, keys, connect=lambda: http.client.HTTPConnection(address, timeout=5))


async def test_a_role_keeps_its_facts_in_its_own_bucket(server: S3Server) -> None:
    def check() -> None:
        with opened(server) as bucket:
            first = bucket.put("notes/a b+c%é", b"one", if_absent=True)
            with pytest.raises(ConflictError):
                bucket.put("notes/a b+c%é", b"two", if_absent=True)
            bucket.put("notes/a b+c%é", b"two", if_match=first)
            with pytest.raises(ConflictError):
                bucket.put("notes/a b+c%é", b"three", if_match=first)
            assert bucket.get("notes/a b+c%é")[0] == b"two"
            assert [found.key for found in bucket.list("notes/", limit=5).objects] == ["notes/a b+c%é"]
            bucket.delete("notes/a b+c%é")
            assert not bucket.exists("notes/a b+c%é")
        with opened(server, "backups") as other, pytest.raises(DeniedError):
            other.put("notes/a", b"one")

    await asyncio.to_thread(check)


async def test_health_is_told_as_far_as_the_key_may_ask(server: S3Server) -> None:
    def check() -> None:
        with opened(server) as bucket:
            found = health(bucket)
            assert (found.versioned, found.well) == (None, True)
        with opened(server, keys=OWNER) as bucket:
            assert health(bucket).versioned is True

    await asyncio.to_thread(check)
