"""The engine's side of a provider's gRPC service, for tests: plain Python values in and out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, provider_pb2_grpc, status_pb2

from sandbox.providers.serve import serving
from sandbox.providers.values import Values, decode, encode

# google.protobuf ships no stubs for its Empty among ours.
from google.protobuf.empty_pb2 import Empty  # isort: skip


class ProviderError(Exception):
    """A failed call; `kept` is the state of an object that exists all the same."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(error.details())
        self.kept: Any = None
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin" and isinstance(value, bytes):
                status = status_pb2.Status.FromString(value)
                self.kept = provider_pb2.ErrorResourceInitFailed()
                status.details[0].Unpack(self.kept)


@dataclass(frozen=True, slots=True)
class Checked:
    inputs: Values
    failures: Sequence[str]


@dataclass(frozen=True, slots=True)
class Diffed:
    changes: Mapping[str, str]
    replaces: Sequence[str]
    deletes_first: bool


class ProviderClient:
    """One attached engine."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def attach(self, engine_address: str = "") -> None:
        await self._call("Handshake", provider_pb2.ProviderHandshakeRequest(engine_address=engine_address))

    async def configure(self, **values: Any) -> None:
        await self._call("Configure", provider_pb2.ConfigureRequest(args=encode(values)))

    async def check_config(self, **values: Any) -> list[str]:
        answer = await self._call("CheckConfig", provider_pb2.CheckRequest(news=encode(values)))
        return [failure.reason for failure in answer.failures]

    async def cancel(self) -> None:
        await self._call("Cancel", Empty())

    async def check(
        self, token: str, name: str, news: Values, olds: Values | None = None, seed: bytes = b"seed"
    ) -> Checked:
        request = provider_pb2.CheckRequest(
            type=token, name=name, news=encode(news), olds=encode(olds or {}), randomSeed=seed
        )
        answer = await self._call("Check", request)
        return Checked(decode(answer.inputs), [failure.reason for failure in answer.failures])

    async def diff(
        self, token: str, state: Values, news: Values, olds: Values | None = None, ignore: Sequence[str] = ()
    ) -> Diffed:
        request = provider_pb2.DiffRequest(
            type=token,
            olds=encode(state),
            news=encode(news),
            old_inputs=encode(olds or {}),
            ignoreChanges=ignore,
        )
        answer = await self._call("Diff", request)
        kinds = {
            path: provider_pb2.PropertyDiff.Kind.Name(item.kind) for path, item in answer.detailedDiff.items()
        }
        return Diffed(kinds, list(answer.replaces), answer.deleteBeforeReplace)

    async def create(
        self, token: str, inputs: Values, *, name: str = "thing", preview: bool = False
    ) -> tuple[str, Values]:
        request = provider_pb2.CreateRequest(
            type=token, name=name, urn=_urn(token, name), properties=encode(inputs), preview=preview
        )
        answer = await self._call("Create", request)
        return answer.id, decode(answer.properties)

    async def read(self, token: str, key: str, state: Values, inputs: Values) -> tuple[str, Values, Values]:
        """The id (empty when it is gone), the outputs, the inputs."""
        request = provider_pb2.ReadRequest(
            type=token, id=key, urn=_urn(token, "thing"), properties=encode(state), inputs=encode(inputs)
        )
        answer = await self._call("Read", request)
        return answer.id, decode(answer.properties), decode(answer.inputs)

    async def update(
        self,
        token: str,
        key: str,
        state: Values,
        news: Values,
        olds: Values | None = None,
        *,
        preview: bool = False,
    ) -> Values:
        request = provider_pb2.UpdateRequest(
            type=token,
            id=key,
            urn=_urn(token, "thing"),
            olds=encode(state),
            news=encode(news),
            old_inputs=encode(olds or {}),
            preview=preview,
        )
        return decode((await self._call("Update", request)).properties)

    async def delete(
        self, token: str, key: str, state: Values, inputs: Values | None = None, *, timeout_seconds: float = 0
    ) -> None:
        request = provider_pb2.DeleteRequest(
            type=token,
            id=key,
            urn=_urn(token, "thing"),
            properties=encode(state),
            old_inputs=encode(inputs or {}),
            timeout=timeout_seconds,
        )
        await self._call("Delete", request)

    async def invoke(self, token: str, arguments: Values) -> Values:
        answer = await self._call("Invoke", provider_pb2.InvokeRequest(tok=token, args=encode(arguments)))
        assert not answer.failures, [failure.reason for failure in answer.failures]
        return decode(getattr(answer, "return"))

    async def _call(self, method: str, request: Any) -> Any:
        try:
            return await getattr(self._stub, method)(request)
        except grpc.aio.AioRpcError as error:
            raise ProviderError(error) from error


@asynccontextmanager
async def attached(package: str, **configuration: Any) -> AsyncIterator[ProviderClient]:
    """A provider of a process of its own, attached and configured, with the engine's log going nowhere."""
    async with serving() as ports, connected(ports[package]) as client:
        await client.attach()
        await client.configure(**configuration)
        yield client


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[ProviderClient]:
    """One more engine's connection."""
    # Without an own subchannel pool, two channels to one port would share a connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield ProviderClient(provider_pb2_grpc.ResourceProviderStub(channel))


@dataclass(slots=True)
class LoggedLines(engine_pb2_grpc.EngineServicer):
    """An engine that keeps the lines it is told to show."""

    lines: list[str] = field(default_factory=list)

    async def Log(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.lines.append(f"{engine_pb2.LogSeverity.Name(request.severity).lower()}: {request.message}")
        return Empty()


@asynccontextmanager
async def logging_engine() -> AsyncIterator[tuple[str, LoggedLines]]:
    """An engine's log service: its address and what it was told."""
    server = grpc.aio.server()
    engine = LoggedLines()
    engine_pb2_grpc.add_EngineServicer_to_server(engine, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", engine
    finally:
        await server.stop(0)


def _urn(token: str, name: str) -> str:
    return f"urn:pulumi:dev::tiny::{token}::{name}"
