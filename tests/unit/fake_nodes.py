"""Machines of database nodes without machines: what runs, where the data volume is, and what may never happen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sandbox.machines.port import Interface, MachineError, MachineSpec, VolumeSpec


class Crash(BaseException):
    """The daemon died here: no handler of errors may save the day."""


class FakeNodes:
    """Implements `NodeMachines` and `NodeNetwork`.

    `crash_at` counts calls: that one has its effect, but the daemon dies before it hears of it.
    """

    def __init__(self) -> None:
        self.on: set[int] = set()
        self.memory: dict[int, int] = {}
        self.attached: dict[str, set[int]] = {}
        self.serving: dict[int, str] = {}
        self.inputs: list[tuple[int, str, str]] = []
        self.calls: list[str] = []
        self.dead = False
        self.crash_at: int | None = None
        self.fail_at: int | None = None
        self.fail_once: str | None = None

    def _call(self, what: str) -> None:
        if self.dead:
            raise Crash
        self.calls.append(what)
        if self.fail_at == len(self.calls) or self.fail_once == what:
            self.fail_once = None
            raise MachineError(f"{what} failed")

    def _done(self) -> None:
        if self.crash_at == len(self.calls):
            self.dead = True
            raise Crash

    def die(self, machine: int) -> None:
        """The power is cut."""
        self.on.discard(machine)
        self.serving.pop(machine, None)
        for holders in self.attached.values():
            holders.discard(machine)

    async def create(self, spec: MachineSpec) -> None:
        self._call(f"create {spec.id}")
        assert spec.id not in self.on, "a disk under a running machine was laid anew"
        self.memory[spec.id] = spec.memory_mib
        self._done()

    async def start(self, spec: MachineSpec) -> None:
        self._call(f"start {spec.id}")
        self.on.add(spec.id)
        self._done()

    async def stop(self, machine: int, *, graceful: bool) -> None:
        self._call(f"stop {machine}")
        self.die(machine)
        self._done()

    async def destroy(self, machine: int) -> None:
        self._call(f"destroy {machine}")
        self.die(machine)
        self.memory.pop(machine, None)
        self._done()

    async def attach_volume(self, machine: int, volume: VolumeSpec) -> None:
        self._call(f"attach {volume.id} to {machine}")
        holders = self.attached.setdefault(volume.id, set())
        assert not any(other in self.serving for other in holders - {machine}), "two nodes have the data open"
        holders.add(machine)
        self._done()

    async def detach_volume(self, machine: int, volume: VolumeSpec) -> None:
        self._call(f"detach {volume.id} from {machine}")
        assert machine not in self.serving, "the data was pulled from under a server"
        self.attached.get(volume.id, set()).discard(machine)
        self._done()

    async def delete_volume(self, volume: str) -> None:
        self._call(f"delete {volume}")
        self.attached.pop(volume, None)
        self._done()

    async def execute(self, machine: int, *command: str, text: str = "") -> str:
        self._call(f"{' '.join(command)} in {machine}")
        if machine not in self.on:
            raise MachineError(f"machine {machine} is off")
        self.inputs.append((machine, command[-1], text))
        answer = ""
        match command[:2]:
            case ("systemctl", "start"):
                self._serve(machine, command[2])
            case ("systemctl", "stop"):
                self.serving.pop(machine, None)
            case ("systemctl", "show"):
                answer = "active" if self.serving.get(machine) == command[-1] else "inactive"
        self._done()
        return answer

    def _serve(self, machine: int, unit: str) -> None:
        holders = [node for nodes in self.attached.values() for node in nodes]
        assert machine in holders, "a server was started without data"
        assert not any(other in self.serving for other in holders if other != machine), "two servers at once"
        self.serving[machine] = unit

    async def configure(self, machine: int, cards: Sequence[Interface]) -> None:
        self._call(f"configure {machine}")
        self._done()

    def running(self, machine: int) -> bool:
        return machine in self.on

    async def snapshot(self, machine: int, image: str) -> int:
        raise NotImplementedError

    async def delete_image(self, image: str) -> None:
        raise NotImplementedError

    def images(self) -> frozenset[str]:
        return frozenset()

    def console(self, machine: int) -> Path | None:
        return None
