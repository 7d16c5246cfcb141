"""Keeps the network equal to the store: changes are counted, applied as one whole, and can be awaited."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sandbox.machines.port import MachineError
from sandbox.network.port import Network, Topology

_log = logging.getLogger(__name__)


class Fabric:
    """Drives the network. Many changes in a row are applied together, always the newest state."""

    def __init__(self, network: Network, topology: Callable[[], Topology]) -> None:
        self._network = network
        self._topology = topology
        self._changes = 0
        self._tried = 0
        self._failure: str | None = None
        self._moved = asyncio.Condition()
        self._wake = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._worker = asyncio.get_running_loop().create_task(self._run(), name="network")

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    def changed(self) -> int:
        """Say that the store's network changed; the number of this change."""
        self._changes += 1
        self._wake.set()
        return self._changes

    def is_applied(self, change: int) -> bool:
        return self._tried >= change and self._failure is None

    @property
    def failure(self) -> str | None:
        """Why the network is not as the store says, if so."""
        return self._failure

    async def applied(self) -> None:
        """Until every change so far holds; MachineError when the network could not be made so."""
        wanted = self._changes
        async with self._moved:
            await self._moved.wait_for(lambda: self._tried >= wanted)
        if self._failure is not None:
            raise MachineError(f"the network could not be set up: {self._failure}")

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            change = self._changes
            try:
                await self._network.apply(self._topology())
                self._failure = None
            except Exception as error:  # whatever the network's driver meets must not end the cloud
                self._failure = str(error) or type(error).__name__
                _log.exception("the network could not be made equal to the store")
            async with self._moved:
                self._tried = change
                self._moved.notify_all()
