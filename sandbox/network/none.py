"""A network that is a record only: the last topology is remembered and no packet is touched."""

from __future__ import annotations

from sandbox.network.port import Topology


class RecordNetwork:
    """Implements `Network`; `topology` is what the cloud last asked for."""

    def __init__(self) -> None:
        self.topology: Topology | None = None

    async def apply(self, topology: Topology) -> None:
        self.topology = topology

    async def remove(self) -> None:
        self.topology = None
