"""Real machines: every droplet is a Debian booted by systemd-nspawn from an overlay of its image."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sandbox.machines import boot, readiness, seed, trust
from sandbox.machines.cgroups import MachineCgroups
from sandbox.machines.commands import execute, run
from sandbox.machines.images import ImageStore, lowerdir
from sandbox.machines.machine_files import MachineFiles
from sandbox.machines.port import MachineError, MachineSpec, VolumeSpec
from sandbox.machines.unplug import unplug
from sandbox.machines.volumes import Plugged, VolumeStore
from sandbox.paths import MARKER
from sandbox.processes import ProcessId

_SHUTDOWN_SECONDS = 60.0
_BOOT_SECONDS = 60.0
_TOOLS = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "losetup": "util-linux"}

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def _told(what: str) -> AsyncIterator[None]:
    """What the host refuses, such as space on its disk, becomes the driver's own error."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"{what}: {error}") from error


class NspawnMachines:
    """Implements `Machines` and `VolumeDisks`. Machines outlive this object and its process; `adopt` takes them over."""

    def __init__(
        self,
        home: Path,
        cache: Path,
        prefix: str,
        on_exit: Callable[[int], None] | None = None,
        authority: Path | None = None,
    ) -> None:
        """`prefix` + "d<id>" names a machine's network namespace, which must exist before `start`.

        `on_exit` is called in the loop when a machine went off by itself: not after `stop` or `destroy`.
        `authority`: a file of one certificate (PEM), which new disks trust like a public one.
        """
        missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
        if missing:
            raise MachineError(f"real machines need: apt-get install {' '.join(missing)}")
        self.on_exit = on_exit
        self._authority = authority
        self._home = home
        self._prefix = prefix
        self._cgroups = MachineCgroups(home)
        self._images = ImageStore(home, cache)
        self._volumes = VolumeStore(home)
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._store_turn = asyncio.Lock()
        self._drafts: set[Path] = set()
        self._watches: dict[int, asyncio.Task[None]] = {}
        self._stopping: set[int] = set()

    async def adopt(self) -> frozenset[int]:
        """Take over the machines that run already, as after a crash of the daemon; returns their ids."""
        found = set()
        for machine in self._known():
            self._cgroups.thaw(machine)
            if runner := ProcessId.read(self._files(machine).pid):
                self._watch(machine, runner)
                found.add(machine)
            else:
                await asyncio.to_thread(self._cgroups.end, machine)
        return frozenset(found)

    async def close(self) -> None:
        """Stop watching; the machines go on."""
        watches = list(self._watches.values())
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

    async def create(self, spec: MachineSpec) -> None:
        async with self._turns[spec.id], _told(f"disk of machine {spec.id}"):
            await self._end(spec.id)
            async with self._store_turn:
                image = self._images.get(spec.image)
                lowerdir(image.layers)  # raises before anything is laid
                self._images.claim(image)
                files = self._files(spec.id)
                files.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                await asyncio.to_thread(files.lay_disk, image)
                if self._authority is not None:
                    await asyncio.to_thread(
                        trust.install, files.upper, image.layers, self._authority.read_bytes()
                    )

    async def start(self, spec: MachineSpec) -> None:
        async with self._turns[spec.id], _told(f"start of machine {spec.id}"):
            if self.running(spec.id):
                return
            name = f"{self._prefix}d{spec.id}"
            if not boot.namespace(name).exists():
                raise MachineError(f"machine {spec.id} has no network: {boot.namespace(name)} does not exist")
            await self._end(spec.id)
            files = self._files(spec.id)
            disk = files.require_disk()
            files.write_seed(seed.render(spec, disk.incarnation))
            files.write_volumes([await self._volumes.attach(volume) for volume in spec.volumes])
            files.prepare_console()
            join = self._cgroups.create(spec.id, spec.memory_mib)
            command = boot.runner_command(
                files,
                lowerdir(disk.image.layers),
                self._cgroups.group(spec.id),
                boot.nspawn_command(files, name),
            )
            async with readiness.listening(self._cgroups.name, spec.id) as (socket, ready):
                variables = boot.environment((MARKER, str(self._home)), socket, join)
                process = boot.launch(command, variables, files.console)
                await self._booted(spec.id, process, ready)

    async def _booted(
        self, machine: int, process: subprocess.Popen[bytes], ready: asyncio.Future[None]
    ) -> None:
        runner = ProcessId.of_child(process.pid)
        self._stopping.add(machine)
        watch = self._watch(machine, runner, process)
        try:
            await readiness.ready_or_ended(ready, watch, _BOOT_SECONDS)
        except BaseException as error:
            process.kill()
            await self._end(machine)
            if not isinstance(error, MachineError):
                raise
            words = self._files(machine).last_words()
            raise MachineError(
                f"machine {machine} did not boot: {error}; its console ends with:\n{words}"
            ) from None
        self._stopping.discard(machine)

    async def stop(self, machine: int, *, graceful: bool) -> None:
        if not graceful:
            # Before waiting for a turn: pulling the plug also ends a shutdown that hangs.
            self._stopping.add(machine)
            self._cgroups.kill(machine)
        async with self._turns[machine]:
            runner = ProcessId.read(self._files(machine).pid)
            if graceful and runner is not None:
                self._stopping.add(machine)
                watch = self._watch(machine, runner)
                runner.terminate()
                await asyncio.wait({watch}, timeout=_SHUTDOWN_SECONDS)
            await self._end(machine)

    async def destroy(self, machine: int) -> None:
        await self.stop(machine, graceful=False)
        async with self._turns[machine]:
            directory = self._files(machine).directory
            if directory.exists():
                await asyncio.to_thread(shutil.rmtree, directory)
        self._turns.pop(machine, None)
        await self._collect()

    async def execute(self, machine: int, *command: str, text: str = "") -> str:
        """Run a command in the machine as its root, whatever the network does; its output.

        `text` goes to its standard input. Raises MachineError when the machine is off or the command fails.
        """
        init = self._cgroups.init(machine)
        if init is None:
            raise MachineError(f"machine {machine} is off: `{command[0]}` cannot run there")
        return await execute(init, command, text)

    async def snapshot(self, machine: int, image: str) -> int:
        """A running machine is held still while its disk is copied: what a power cut would have left."""
        async with self._turns[machine], _told(f"snapshot of machine {machine}"):
            if image in self._images.available():
                return self._images.get(image).size_bytes
            files = self._files(machine)
            disk = files.require_disk()
            layer = self._images.new_layer(image)
            self._drafts.add(layer)
            try:
                if self.running(machine):
                    await asyncio.to_thread(self._cgroups.freeze, machine)
                try:
                    await run("cp", "--archive", "--reflink=auto", "--", str(files.upper), str(layer))
                finally:
                    self._cgroups.thaw(machine)
                async with self._store_turn:
                    return (await asyncio.to_thread(self._images.add, image, disk.image, layer)).size_bytes
            finally:
                self._drafts.discard(layer)
                await asyncio.to_thread(shutil.rmtree, layer, ignore_errors=True)  # what failed half-way

    async def delete_image(self, image: str) -> None:
        self._images.delete(image)
        await self._collect()

    async def attach_volume(self, machine: int, volume: VolumeSpec) -> None:
        """Hot when the machine runs. When it is off, its next `start` names the volume."""
        async with self._turns[machine], _told(f"volume {volume.id} on machine {machine}"):
            runner = ProcessId.read(self._files(machine).pid)
            if runner is None:
                return
            plugged = await self._volumes.attach(volume)
            files = self._files(machine)
            files.write_volumes([*self._others(machine, volume.id), plugged])
            await self._node(runner, files.devices / plugged.name, plugged)

    async def detach_volume(self, machine: int, volume: VolumeSpec) -> None:
        """Also while mounted: whatever uses it loses it, as when a real volume is pulled."""
        async with self._turns[machine]:
            files = self._files(machine)
            for plugged in files.volumes():
                if plugged.volume != volume.id:
                    continue
                if runner := ProcessId.read(files.pid):
                    await self._node(runner, files.devices / plugged.name, None)
                    await unplug(plugged, self._cgroups.pids(machine))
            if files.directory.exists():
                files.write_volumes(self._others(machine, volume.id))
            await self._volumes.release(volume.id)

    async def delete_volume(self, volume: str) -> None:
        await self._volumes.delete(volume)

    async def resize_volume(self, volume: VolumeSpec) -> None:
        async with _told(f"volume {volume.id}"):
            await self._volumes.resize(volume)

    async def snapshot_volume(self, volume: str, snapshot: str) -> int:
        """The machine that runs with it is held still meanwhile: the copy is what a power cut would have left."""
        async with _told(f"snapshot of volume {volume}"), self._held_still(volume):
            return await self._volumes.snapshot(volume, snapshot)

    async def restore_volume(self, volume: VolumeSpec, snapshot: str) -> None:
        async with _told(f"volume {volume.id}"):
            await self._volumes.restore(volume, snapshot)

    async def delete_volume_snapshot(self, snapshot: str) -> None:
        self._volumes.delete_snapshot(snapshot)

    def running(self, machine: int) -> bool:
        return ProcessId.read(self._files(machine).pid) is not None

    def images(self) -> frozenset[str]:
        return self._images.available()

    def console(self, machine: int) -> Path | None:
        console = self._files(machine).console
        return console if console.exists() else None

    def memory_bytes(self, machine: int) -> int | None:
        """What the machine takes of the host's memory, page cache included; None when it is off."""
        return self._cgroups.memory(machine)

    @contextlib.asynccontextmanager
    async def _held_still(self, volume: str) -> AsyncIterator[None]:
        """No process of a machine that has this volume runs meanwhile."""
        holders = [
            machine
            for machine in self._known()
            if any(plugged.volume == volume for plugged in self._files(machine).volumes())
        ]
        async with contextlib.AsyncExitStack() as stack:
            for machine in holders:
                await stack.enter_async_context(self._turns[machine])
                if self.running(machine):
                    stack.callback(self._cgroups.thaw, machine)
                    await asyncio.to_thread(self._cgroups.freeze, machine)
            yield

    def _files(self, machine: int) -> MachineFiles:
        return MachineFiles(self._home / "machines" / str(machine))

    def _known(self) -> list[int]:
        return sorted(int(path.name) for path in (self._home / "machines").glob("[0-9]*"))

    def _others(self, machine: int, volume: str) -> list[Plugged]:
        return [plugged for plugged in self._files(machine).volumes() if plugged.volume != volume]

    def _watch(
        self, machine: int, runner: ProcessId, process: subprocess.Popen[bytes] | None = None
    ) -> asyncio.Task[None]:
        """The one task that waits for this run of the machine to end and tidies up after it."""
        watch = self._watches.get(machine)
        if watch is None or watch.done():
            watch = asyncio.create_task(self._until_off(machine, runner, process))
            self._watches[machine] = watch
        return watch

    async def _until_off(
        self, machine: int, runner: ProcessId, process: subprocess.Popen[bytes] | None
    ) -> None:
        await runner.wait()
        if process is not None:
            process.wait()  # it has ended: this only takes its exit code from the kernel
        await self._tidy(machine)
        self._watches.pop(machine, None)
        requested = machine in self._stopping
        self._stopping.discard(machine)
        if not requested and self.on_exit is not None:
            self.on_exit(machine)

    async def _end(self, machine: int) -> None:
        """Whatever runs of the machine is gone afterwards, its devices are free."""
        watch = self._watches.get(machine)
        if watch is not None:
            self._stopping.add(machine)
            self._cgroups.kill(machine)
            await asyncio.shield(watch)
        await self._tidy(machine)
        self._stopping.discard(machine)

    async def _tidy(self, machine: int) -> None:
        try:
            await asyncio.to_thread(self._cgroups.end, machine)
            files = self._files(machine)
            for plugged in files.volumes():
                await self._volumes.release(plugged.volume)
            if files.directory.exists():
                files.write_volumes(())
        except MachineError as error:
            _log.warning("machine %d is off, but: %s", machine, error)

    async def _node(self, runner: ProcessId, place: Path, plugged: Plugged | None) -> None:
        """Make or remove a device node where the machine has its disks."""
        inside = ("nsenter", f"--target={runner.pid}", "--mount")
        await run(*inside, "rm", "--force", str(place))
        if plugged is not None:
            numbers = (str(plugged.major), str(plugged.minor))
            await run(*inside, "mknod", "--mode=660", str(place), "b", *numbers)

    async def _collect(self) -> None:
        async with self._store_turn:
            disks = (self._files(machine).disk() for machine in self._known())
            used = [layer for disk in disks if disk for layer in disk.image.layers]
            await asyncio.to_thread(self._images.collect, [*used, *self._drafts])
