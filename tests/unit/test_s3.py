"""The sandbox's object storage, with the client its users have."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]  # ships no types
import botocore.exceptions  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from starlette.applications import Starlette

from sandbox.processes import ProcessId
from sandbox.s3 import S3Error, S3Server
from sandbox.s3_faults import storage_routes
from sandbox.s3_keys import AccessKey, full_access
from tests.unit.cloud_api import asgi_request

KEY, SECRET = "SPACESKEY", "spaces-secret"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[S3Server]:
    made = S3Server(tmp_path, free_port())
    made.allow([full_access(KEY, SECRET)])
    await made.start()
    yield made
    await made.stop()


def client(
    server: S3Server,
    key: str = KEY,
    secret: str = SECRET,
    *,
    endpoint: str | None = None,
    style: str = "path",
) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint or server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": style}, retries={"max_attempts": 1}),
    )


async def call(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


async def crash(server: S3Server, home: Path) -> None:
    """kill -9, and a start after it."""
    identity = ProcessId.read(home / "s3" / "server.id")
    assert identity is not None
    descriptor = os.pidfd_open(identity.pid)
    os.kill(identity.pid, signal.SIGKILL)
    await asyncio.to_thread(select.select, [descriptor], [], [])
    os.close(descriptor)
    assert not server.running()
    await server.start()


async def test_everything_survives_a_kill(server: S3Server, tmp_path: Path) -> None:
    s3 = client(server)

    def fill() -> dict[str, Any]:
        s3.create_bucket(Bucket="datastore")
        s3.put_bucket_versioning(Bucket="datastore", VersioningConfiguration={"Status": "Enabled"})
        first = s3.put_object(Bucket="datastore", Key="ips/web/web-1", Body=b"10.20.0.2", Metadata={"a": "b"})
        s3.put_object(Bucket="datastore", Key="ips/web/web-1", Body=b"10.20.0.3")
        s3.put_object(Bucket="datastore", Key="gone", Body=b"x")
        s3.delete_object(Bucket="datastore", Key="gone")
        return {
            "version": first["VersionId"],
            "time": s3.head_object(Bucket="datastore", Key="ips/web/web-1"),
        }

    before = await call(fill)
    await crash(server, tmp_path)

    def check() -> None:
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="datastore")["Contents"]]
        assert keys == ["ips/web/web-1"]
        now = s3.get_object(Bucket="datastore", Key="ips/web/web-1")
        assert now["Body"].read() == b"10.20.0.3"
        assert (now["LastModified"], now["VersionId"], now["ETag"]) == tuple(
            before["time"][field] for field in ("LastModified", "VersionId", "ETag")
        )
        old = s3.get_object(Bucket="datastore", Key="ips/web/web-1", VersionId=before["version"])
        assert (old["Body"].read(), old["Metadata"]) == (b"10.20.0.2", {"a": "b"})

    await call(check)


async def test_upload_in_parts_goes_on_after_a_kill(server: S3Server, tmp_path: Path) -> None:
    s3 = client(server)
    part = os.urandom(5 * 2**20)
    name = {"Bucket": "backups", "Key": "dump"}

    def begin() -> tuple[str, str]:
        s3.create_bucket(Bucket="backups")
        upload = s3.create_multipart_upload(**name)["UploadId"]
        return upload, s3.upload_part(**name, UploadId=upload, PartNumber=1, Body=part)["ETag"]

    upload, first = await call(begin)
    await crash(server, tmp_path)

    def finish() -> bytes:
        second = s3.upload_part(**name, UploadId=upload, PartNumber=2, Body=b"end")["ETag"]
        parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
        s3.complete_multipart_upload(**name, UploadId=upload, MultipartUpload={"Parts": parts})
        content: bytes = s3.get_object(**name)["Body"].read()
        return content

    assert await call(finish) == part + b"end"


async def test_deleted_bucket_stays_deleted(server: S3Server, tmp_path: Path) -> None:
    s3 = client(server)
    await call(lambda: s3.create_bucket(Bucket="short"))
    await call(lambda: s3.delete_bucket(Bucket="short"))
    await crash(server, tmp_path)
    assert (await call(s3.list_buckets))["Buckets"] == []


async def test_writes_can_be_conditional(server: S3Server) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""
    s3 = client(server)
    lease = {"Bucket": "datastore", "Key": "lease"}

    def refused(code: str, **conditions: str) -> None:
        with pytest.raises(botocore.exceptions.ClientError, match=code):
            s3.put_object(**lease, Body=b"other", **conditions)

    def check() -> None:
        s3.create_bucket(Bucket="datastore")
        s3.put_bucket_versioning(Bucket="datastore", VersioningConfiguration={"Status": "Enabled"})
        refused("NoSuchKey", IfMatch="0123")
        quoted = s3.put_object(**lease, Body=b"1", IfNoneMatch="*")["ETag"]
        first = quoted.strip('"')
        # As in DigitalOcean's storage, which compares with the quotes.
        refused("PreconditionFailed", IfMatch=quoted)
        refused("PreconditionFailed", IfNoneMatch="*")
        second = s3.put_object(**lease, Body=b"2", IfMatch=first)["ETag"].strip('"')
        refused("PreconditionFailed", IfMatch=first)
        assert s3.get_object(**lease)["Body"].read() == b"2"
        # A deleted object is absent, also where its versions are kept.
        s3.delete_object(**lease)
        refused("NoSuchKey", IfMatch=second)
        s3.put_object(**lease, Body=b"3", IfNoneMatch="*")

    await call(check)


async def test_only_who_knows_the_secret_is_let_in(server: S3Server) -> None:
    for key, secret, refusal in (
        ("SOMEBODYELSE", SECRET, "InvalidAccessKeyId"),
        (KEY, "guessed", "SignatureDoesNotMatch"),
    ):
        with pytest.raises(botocore.exceptions.ClientError, match=refusal):
            await call(client(server, key, secret).list_buckets)


async def test_a_key_reaches_as_far_as_its_grants_and_no_longer_than_it_is_known(server: S3Server) -> None:
    root, one = full_access(KEY, SECRET), AccessKey("ONE", "one", (("datastore", "readwrite"),))
    owner, role = client(server), client(server, "ONE", "one")

    def check() -> None:
        for bucket in ("datastore", "backups"):
            owner.create_bucket(Bucket=bucket)
        with pytest.raises(botocore.exceptions.ClientError, match="InvalidAccessKeyId"):
            role.put_object(Bucket="datastore", Key="a", Body=b"1")
        server.allow([root, one])
        role.put_object(Bucket="datastore", Key="a", Body=b"1")
        assert [entry["Key"] for entry in role.list_objects_v2(Bucket="datastore")["Contents"]] == ["a"]
        role.delete_objects(Bucket="datastore", Delete={"Objects": [{"Key": "a"}]})
        for refused in (
            lambda: role.put_object(Bucket="backups", Key="a", Body=b"1"),
            lambda: role.list_objects_v2(Bucket="backups"),
            role.list_buckets,
            lambda: role.delete_bucket(Bucket="datastore"),
            lambda: role.put_bucket_versioning(
                Bucket="datastore", VersioningConfiguration={"Status": "Suspended"}
            ),
        ):
            with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
                refused()
        server.allow([root])
        with pytest.raises(botocore.exceptions.ClientError, match="InvalidAccessKeyId"):
            role.list_objects_v2(Bucket="datastore")

    await call(check)


async def test_bucket_is_found_by_host_name_in_its_region_alone(server: S3Server) -> None:
    s3 = client(server)
    where = {"LocationConstraint": "lon1"}
    await call(lambda: s3.create_bucket(Bucket="datastore", CreateBucketConfiguration=where))
    assert (await call(lambda: s3.get_bucket_location(Bucket="datastore")))["LocationConstraint"] == "lon1"
    await call(lambda: s3.put_object(Bucket="datastore", Key="a/b c", Body=b"content"))
    assert await visit(server, "lon1") == (b"200", b"content")
    assert (await visit(server, "ams3"))[0] == b"404"


async def visit(server: S3Server, region: str) -> tuple[bytes, bytes]:
    """Status and content of a presigned URL, as it is answered behind a region's own host name."""
    there = client(server, endpoint=f"https://{region}.digitaloceanspaces.com", style="virtual")
    url = there.generate_presigned_url("get_object", Params={"Bucket": "datastore", "Key": "a/b c"})
    parts = urlsplit(url)
    assert parts.netloc == f"datastore.{region}.digitaloceanspaces.com"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.endpoint.rpartition(":")[2]))
    writer.write(f"GET {parts.path}?{parts.query} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
    head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.split()[1], content


async def test_new_daemon_takes_the_running_server_over(server: S3Server, tmp_path: Path) -> None:
    before = ProcessId.read(tmp_path / "s3" / "server.id")
    heir = S3Server(tmp_path, int(server.endpoint.rpartition(":")[2]))
    await heir.start()
    assert ProcessId.read(tmp_path / "s3" / "server.id") == before


async def test_storage_can_be_away_and_comes_back_with_all_that_was_in_it(server: S3Server) -> None:
    s3, control = client(server), Starlette(routes=storage_routes(server))

    async def fault(kind: str) -> None:
        body = json.dumps({"kind": kind}).encode()
        assert (await asgi_request(control, "POST", "/spaces/fault", body, {})).status == 204

    await call(lambda: s3.create_bucket(Bucket="datastore"))
    for _ in range(2):
        await fault("stop")
    with pytest.raises(botocore.exceptions.EndpointConnectionError):
        await call(s3.list_buckets)
    for _ in range(2):
        await fault("heal")
    assert [bucket["Name"] for bucket in (await call(s3.list_buckets))["Buckets"]] == ["datastore"]


async def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(S3Error, match=f"port {port}"):
            await S3Server(tmp_path, port).start()
