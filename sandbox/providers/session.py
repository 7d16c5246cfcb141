"""One engine's connection to a provider: its configuration, its log, its wish to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from sandbox.providers.engine_process import EngineProcess, find_engine

if TYPE_CHECKING:
    import grpc.aio

_log = logging.getLogger(__name__)

Severity = Literal["debug", "info", "warning", "error"]
_SEVERITIES = {
    "debug": engine_pb2.DEBUG,
    "info": engine_pb2.INFO,
    "warning": engine_pb2.WARNING,
    "error": engine_pb2.ERROR,
}


class CancelledByEngineError(Exception):
    """The engine asked to stop: the user pressed ^C."""

    def __init__(self) -> None:
        super().__init__("context canceled")


class LostConfigurationError(Exception):
    """The connection is new and nobody can say which provider it belongs to."""

    def __init__(self) -> None:
        super().__init__(
            "the engine's connection was lost, and with it the provider's configuration; run again"
        )


class Session:
    """What is known of one attached engine.

    Every provider resource of a run has a connection of its own, so several runs with different configuration
    can be served at once.
    """

    def __init__(self, peer: str) -> None:
        self.peer = peer
        # None until the engine configures the provider.
        self.configuration: Mapping[str, Any] | None = None
        self.cancelled = asyncio.Event()
        self._engine_address = ""
        self._next_turn = 0.0
        self._channel: grpc.aio.Channel | None = None
        self._process: asyncio.Future[EngineProcess] | None = None

    def attach(self, engine_address: str) -> None:
        """Where the engine takes log lines."""
        self._engine_address = engine_address
        self.cancelled.clear()

    async def process(self) -> EngineProcess:
        """The engine's process, looked up once."""
        if self._process is None:
            self._process = asyncio.ensure_future(asyncio.to_thread(find_engine, self.peer))
        return await asyncio.shield(self._process)

    async def environment(self, *names: str) -> str | None:
        """The first of these variables that the engine has set, or else this process."""
        for variables in ((await self.process()).environment, os.environ):
            for name in names:
                if variables.get(name):
                    return variables[name]
        return None

    async def pause(self, seconds: float) -> None:
        """Let time pass before the next try.

        Raises: CancelledByEngineError as soon as the engine wants to stop.
        """
        try:
            await asyncio.wait_for(self.cancelled.wait(), seconds)
        except TimeoutError:
            return
        raise CancelledByEngineError

    async def take_turn(self, per_second: float) -> None:
        """Wait until another call to the API is due; 0 sets no limit."""
        if per_second <= 0:
            return
        now = time.monotonic()
        due = max(now, self._next_turn)
        self._next_turn = due + 1 / per_second
        if due > now:
            await self.pause(due - now)

    async def log(self, severity: Severity, message: str, urn: str = "", *, passing: bool = False) -> None:
        """Show a line at the resource `urn`; a passing one only while the resource is worked on."""
        if not self._engine_address:
            return
        request = engine_pb2.LogRequest(
            severity=_SEVERITIES[severity], message=message, urn=urn, ephemeral=passing
        )
        try:
            await self._engine().Log(request)
        except grpc.RpcError as error:
            _log.debug("the engine at %s took no log line: %s", self._engine_address, error)

    def _engine(self) -> Any:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._engine_address)
        return engine_pb2_grpc.EngineStub(self._channel)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None


class Sessions:
    """The sessions of the newest connections; older ones are forgotten, for connections do not say goodbye."""

    def __init__(self, limit: int = 512) -> None:
        self._limit = limit
        self._by_peer: OrderedDict[str, Session] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def of(self, peer: str) -> Session:
        session = self._by_peer.get(peer)
        if session is None:
            session = self._by_peer[peer] = Session(peer)
        self._by_peer.move_to_end(peer)
        while len(self._by_peer) > self._limit:
            self._close_later(self._by_peer.popitem(last=False)[1])
        return session

    async def configuration(self, session: Session) -> Mapping[str, Any]:
        """The session's configuration.

        An engine that was silent for half an hour comes back over a new connection and does not configure again:
        then it is that of the same process, when it gave only one.
        Raises: LostConfigurationError when it gave several.
        """
        if session.configuration is None:
            number = (await session.process()).number
            known = [
                other.configuration
                for other in list(self._by_peer.values())
                if other.configuration is not None and (await other.process()).number == number
            ]
            if any(configuration != known[0] for configuration in known):
                raise LostConfigurationError
            session.configuration = known[0] if known else {}
        return session.configuration

    def begin(self, peer: str, engine_address: str) -> Session:
        """A new connection's session; the port may have belonged to another engine before."""
        old = self._by_peer.pop(peer, None)
        if old is not None:
            self._close_later(old)
        session = self.of(peer)
        session.attach(engine_address)
        return session

    async def close(self) -> None:
        while self._by_peer:
            await self._by_peer.popitem()[1].close()

    def _close_later(self, session: Session) -> None:
        task = asyncio.create_task(session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
