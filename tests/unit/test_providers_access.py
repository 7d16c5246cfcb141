"""Who may call the providers."""

import asyncio
import os
import socket
import subprocess
import sys

import grpc
import grpc.aio
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc

from sandbox.providers import access
from sandbox.providers.serve import serving

_NOBODY = 65534
_CALL = """
import os, sys, grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2_grpc
# After the imports: the interpreter may lie where that user may not read.
os.setuid(int(sys.argv[2]))
stub = provider_pb2_grpc.ResourceProviderStub(grpc.insecure_channel("127.0.0.1:" + sys.argv[1]))
try:
    print(stub.GetPluginInfo(empty_pb2.Empty(), timeout=20).version)
except grpc.RpcError as error:
    print(error.code().name)
"""


def test_owner_of_a_connection_is_found() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert access.connection_owner(f"ipv4:127.0.0.1:{client.getsockname()[1]}") == os.getuid()


def test_connection_that_is_not_there_has_no_owner() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert access.connection_owner(f"ipv4:127.0.0.1:{port}") is None


@pytest.mark.parametrize("peer", ["ipv4:192.0.2.1:40000", "unix:/run/socket", "ipv6:%5B::1%5D:40000", ""])
def test_caller_from_elsewhere_has_no_owner(peer: str) -> None:
    assert access.connection_owner(peer) is None


@pytest.mark.parametrize(
    ("owner", "answer"), [(os.getuid(), "OK"), (4242, "PERMISSION_DENIED"), (None, "PERMISSION_DENIED")]
)
async def test_only_our_own_user_is_served(owner: int | None, answer: str) -> None:
    server = grpc.aio.server(interceptors=[access.SameUserOnly(lambda peer: owner)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(_Provider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await _ask(channel) == answer
    finally:
        await server.stop(None)


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
async def test_another_user_of_this_host_is_refused() -> None:
    async with serving() as ports:
        port = str(ports["command"])
        assert await _output([sys.executable, "-c", _CALL, port, "0"]) == "1.2.1"
        assert await _output([sys.executable, "-c", _CALL, port, str(_NOBODY)]) == "PERMISSION_DENIED"


class _Provider(provider_pb2_grpc.ResourceProviderServicer):
    async def GetPluginInfo(self, request: object, context: object) -> plugin_pb2.PluginInfo:  # noqa: N802
        return plugin_pb2.PluginInfo(version="1")


async def _ask(channel: grpc.aio.Channel) -> str:
    try:
        await provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty())
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def _output(command: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd="/")
    printed, _ = await process.communicate()
    return printed.decode().strip()
