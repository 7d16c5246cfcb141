"""DigitalOcean from one real machine: its API and its object storage, under their own names."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
import pytest
from botocore.config import Config  # type: ignore[import-untyped]

from tests.live_sandbox import LiveSandbox
from tests.machine_lab import until
from tests.machines.test_edge_from_inside import Machine

pytestmark = [pytest.mark.machines, pytest.mark.timeout(120)]

_CURL = "curl --silent --show-error --max-time 10 --write-out '\\n%{http_code}'"


@pytest.fixture
async def machine(sandbox: LiveSandbox) -> AsyncIterator[Machine]:
    machine = Machine(sandbox)
    try:
        await until(machine.active)
        await sandbox.inside.booted(machine.id)
        yield machine
    finally:
        sandbox.api("DELETE", f"droplets/{machine.id}")


@pytest.fixture
async def buckets(sandbox: LiveSandbox) -> AsyncIterator[tuple[str, str]]:
    """Two buckets in lon1."""
    names, owner = ("datastore-inside", "backups-inside"), s3(sandbox)
    for name in names:
        await call(owner.create_bucket, Bucket=name, CreateBucketConfiguration={"LocationConstraint": "lon1"})
    yield names
    for name in names:
        listed = await call(owner.list_objects_v2, Bucket=name)
        for entry in listed.get("Contents", ()):
            await call(owner.delete_object, Bucket=name, Key=entry["Key"])
        await call(owner.delete_bucket, Bucket=name)


def s3(sandbox: LiveSandbox) -> Any:
    told = sandbox.environment()
    return boto3.client(
        "s3",
        endpoint_url=told["SPACES_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=told["SPACES_ACCESS_KEY_ID"],
        aws_secret_access_key=told["SPACES_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )


async def call(work: Callable[..., Any], **arguments: Any) -> Any:
    return await asyncio.to_thread(lambda: work(**arguments))


async def test_machine_reaches_the_api_with_a_token_alone(sandbox: LiveSandbox, machine: Machine) -> None:
    account = "https://api.digitalocean.com/v2/account"
    bearer = shlex.quote(f"Authorization: Bearer {sandbox.config.token}")
    assert (await machine.run(f"{_CURL} -H {bearer} {account}")).endswith("\n200")
    assert (await machine.run(f"{_CURL} {account}")).endswith("\n401")
    control = shlex.quote(f"Authorization: Bearer {sandbox.config.control_token}")
    inner = "https://api.digitalocean.com/_sandbox/status"
    assert (await machine.run(f"{_CURL} -H {control} {inner}")).endswith("404")


async def test_machine_keeps_its_facts_in_its_own_bucket_alone(
    sandbox: LiveSandbox, machine: Machine, buckets: tuple[str, str]
) -> None:
    own, other = buckets
    grants = [{"bucket": own, "permission": "readwrite"}]
    key = sandbox.api("POST", "spaces/keys", {"name": "inside", "grants": grants})["key"]
    user = shlex.quote(f"{key['access_key']}:{key['secret_key']}")
    # curl signs by itself: one more client that must agree with the server.
    signed = f"{_CURL} --aws-sigv4 aws:amz:us-east-1:s3 --user {user}"
    host = "lon1.digitaloceanspaces.com"
    put = f"{signed} --upload-file /etc/hostname"
    assert (await machine.run(f"{put} https://{own}.{host}/ips/web/web-1")).endswith("200")
    assert await machine.run(f"{signed} https://{host}/{own}/ips/web/web-1") == "inside\n\n200"
    once = f"{put} -H 'If-None-Match: *' https://{own}.{host}/lease"
    assert [(await machine.run(once))[-3:] for _ in range(2)] == ["200", "412"]
    listed = await machine.run(f"{signed} 'https://{own}.{host}/?list-type=2&prefix=ips%2F'")
    assert "<Key>ips/web/web-1</Key>" in listed
    assert "AccessDenied" in await machine.run(f"{put} https://{other}.{host}/ips/web/web-1")
    assert "AccessDenied" in await machine.run(f"{_CURL} https://{own}.{host}/ips/web/web-1")
    assert "NoSuchBucket" in await machine.run(f"{signed} https://ams3.digitaloceanspaces.com/{own}/x")
    sandbox.api("DELETE", f"spaces/keys/{key['access_key']}")
    assert "InvalidAccessKeyId" in await machine.run(f"{signed} https://{own}.{host}/ips/web/web-1")
