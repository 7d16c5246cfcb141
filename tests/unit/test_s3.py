"""The sandbox's object storage, with the client its users have."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
import botocore.exceptions  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]

from sandbox.processes import ProcessId
from sandbox.s3 import S3Error, S3Server

KEY = "SPACESKEY"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[S3Server]:
    made = S3Server(tmp_path, free_port(), KEY)
    await made.start()
    yield made
    await made.stop()


def client(server: S3Server, key: str = KEY) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="secret",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
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


async def test_write_can_be_conditional(server: S3Server) -> None:
    s3 = client(server)
    await call(lambda: s3.create_bucket(Bucket="datastore"))
    await call(lambda: s3.put_object(Bucket="datastore", Key="lease", Body=b"1", IfNoneMatch="*"))
    with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
        await call(lambda: s3.put_object(Bucket="datastore", Key="lease", Body=b"2", IfNoneMatch="*"))


async def test_foreign_key_is_refused(server: S3Server) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidAccessKeyId"):
        await call(client(server, "SOMEBODYELSE").list_buckets)


async def test_bucket_is_found_by_host_name(server: S3Server) -> None:
    s3 = client(server)
    await call(lambda: s3.create_bucket(Bucket="datastore"))
    await call(lambda: s3.put_object(Bucket="datastore", Key="a/b", Body=b"content"))
    url = await call(
        lambda: s3.generate_presigned_url("get_object", Params={"Bucket": "datastore", "Key": "a/b"})
    )
    query = url.partition("?")[2]
    port = int(server.endpoint.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    host = "datastore.lon1.digitaloceanspaces.com"
    writer.write(f"GET http://{host}/a/b?{query} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.endswith(b"\r\n\r\ncontent")


async def test_new_daemon_takes_the_running_server_over(server: S3Server, tmp_path: Path) -> None:
    before = ProcessId.read(tmp_path / "s3" / "server.id")
    heir = S3Server(tmp_path, int(server.endpoint.rpartition(":")[2]), KEY)
    await heir.start()
    assert ProcessId.read(tmp_path / "s3" / "server.id") == before


async def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(S3Error, match=f"port {port}"):
            await S3Server(tmp_path, port, KEY).start()
