"""The engine behind a connection is found by its port, so that commands inherit what it has."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.providers.engine_process import find_engine
from sandbox.providers.serve import serving

# Calls a provider from a process of its own, as an engine does.
CALLER = """
import sys, grpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from google.protobuf import struct_pb2
stub = provider_pb2_grpc.ResourceProviderStub(grpc.insecure_channel("127.0.0.1:" + sys.argv[1]))
args = struct_pb2.Struct()
args.update({"command": "echo $WHO; pwd"})
answer = stub.Invoke(provider_pb2.InvokeRequest(tok="command:local:run", args=args))
print(getattr(answer, "return").fields["stdout"].string_value)
"""


async def test_a_command_inherits_the_variables_and_the_project_of_the_caller(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "deep").mkdir(parents=True)
    (project / "Pulumi.yaml").write_text("name: x\n")
    async with serving() as ports:
        caller = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CALLER, str(ports["command"])),
            cwd=project / "deep",
            env={**os.environ, "WHO": "the caller"},
            stdout=subprocess.PIPE,
        )
        printed, _ = await caller.communicate()
    assert printed.decode() == f"the caller\n{project}\n"


@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:1", "unix:/tmp/socket", ""])
def test_an_unknown_caller_leaves_our_own_surroundings(peer: str) -> None:
    found = find_engine(peer)
    assert (found.number, found.directory) == (os.getpid(), Path.cwd())
