"""The cloud itself: its store, its machines and network, and the work that makes them equal to the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sandbox.api import topology
from sandbox.api.addresses import to_interface
from sandbox.api.catalog import load_catalog
from sandbox.api.clock import stamp, utc_now
from sandbox.api.databases import Databases
from sandbox.api.databases_port import DatabaseClusters, RecordClusters
from sandbox.api.errors import pending_event
from sandbox.api.fabric import Fabric
from sandbox.api.furnish import furnish
from sandbox.api.settings import CloudSettings
from sandbox.api.steps import (
    ACTION_STEPS,
    ACTION_UNDO,
    destroy_droplet,
    destroy_images,
    destroy_volume,
    destroy_volume_snapshot,
)
from sandbox.api.tasks import Tasks
from sandbox.disk import DiskFullError
from sandbox.machines.port import MachineError, Machines, MachineSpec, VolumeSpec
from sandbox.network.port import Network, Topology
from sandbox.store import Document, Store

_log = logging.getLogger(__name__)


class Cloud:
    """DigitalOcean's world over one store. Call `start` before serving and `stop` at the end.

    Everything that takes time is an action in the store: killed at any moment, the next `start` finishes it.
    """

    def __init__(
        self,
        store: Store,
        machines: Machines,
        network: Network,
        settings: CloudSettings,
        *,
        databases: DatabaseClusters | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.store = store
        self.machines = machines
        self.settings = settings
        self.catalog = load_catalog()
        self.fabric = Fabric(network, self.topology)
        self.tasks = Tasks()
        self.databases = Databases(self, databases or RecordClusters())
        self.boots = asyncio.Semaphore(settings.parallel_boots)
        self._now = now
        self._stopping = False
        furnish(self.store, self.catalog, self.stamp())

    async def start(self) -> None:
        """Make machines and network equal to the store, and resume what was under way.

        Returns when the machines that should be on have been started; resumed actions go on in the background.
        """
        self.fabric.start()
        self.fabric.changed()
        await self.fabric.applied()
        self._resume_removals()
        for action in self.store.all("action"):
            if action["status"] == "in-progress":
                self.tasks.spawn(f"action {action['id']}", self._run(action["id"]))
        await asyncio.gather(
            self.databases.restore(), *(self._restore(droplet) for droplet in self._idle_droplets())
        )

    async def stop(self, *, machines: bool = False) -> None:
        """End the background work; with `machines` also shut every machine down, to be started again by `start`."""
        self._stopping = True
        await self.tasks.cancel()
        if machines:
            on = [
                droplet["id"] for droplet in self.store.all("droplet") if self.machines.running(droplet["id"])
            ]
            await asyncio.gather(
                self.databases.driver.stop(), *(self.machines.stop(machine, graceful=True) for machine in on)
            )
        await self.fabric.stop()

    async def settled(self) -> None:
        """Until no action is in progress and the network holds every change."""
        await self.tasks.settled()
        await self.fabric.applied()

    def on_exit(self, machine: int) -> None:
        """A machine ended by itself or was cut off: its droplet is off, unless an action is at work on it."""
        try:
            self._note_exit(machine)
        except DiskFullError:
            self.tasks.spawn(f"exit of machine {machine}", self.stored(lambda: self._note_exit(machine)))

    def _note_exit(self, machine: int) -> None:
        droplet = self.store.get("droplet", machine)
        if self._stopping or droplet is None or self.pending(machine) or self.machines.running(machine):
            return
        if droplet["status"] == "active":
            self.change("droplet", machine, status="off")

    def stamp(self) -> str:
        return stamp(self._now())

    @property
    def now(self) -> datetime:
        return self._now()

    async def pause(self) -> None:
        """The cloud's own latency, for one asynchronous step."""
        await asyncio.sleep(self.settings.latency_seconds)

    # Droplets

    def every_droplet(self) -> list[Document]:
        """Droplets, and those being destroyed: they hold their addresses, volumes and images until they are gone."""
        return self.store.all("droplet") + self.store.all("doomed_droplet")

    def every_database_node(self) -> list[Document]:
        return [node for cluster in self.databases.every() for node in cluster["nodes"]]

    def change(self, kind: str, key: str | int, **changes: Any) -> None:
        """Change some fields of a document that is there; one that is gone stays so."""
        document = self.store.get(kind, key)
        if document is not None:
            self.store.put(kind, key, {**document, **changes})

    def spec(self, droplet: Document) -> MachineSpec:
        """What the machine of this droplet is made of."""
        size = self.catalog.sizes[droplet["size"]]
        return MachineSpec(
            id=droplet["id"],
            hostname=droplet["hostname"],
            image=droplet["image_key"],
            public=to_interface(droplet["public"]),
            private=to_interface(droplet["private"]),
            user_data=droplet["user_data"],
            ssh_keys=tuple(droplet["ssh_keys"]),
            tags=tuple(droplet["tags"]),
            region=droplet["region"],
            memory_mib=size["memory"],
            vcpus=size["vcpus"],
            volumes=tuple(self.volume_spec(volume) for volume in self._volumes_of(droplet)),
        )

    def machine_at(self, address: str) -> MachineSpec | None:
        """The machine that has this IPv4 address, public or private; for the metadata service."""
        for droplet in self.store.all("droplet"):
            if address in (droplet["public"]["address"], droplet["private"]["address"]):
                return self.spec(droplet)
        return None

    def volume_spec(self, volume: Document) -> VolumeSpec:
        return VolumeSpec(id=volume["id"], name=volume["name"], size_gib=volume["size_gigabytes"])

    def topology(self) -> Topology:
        """The network as the store wants it now."""
        return topology.resolve(
            self.every_droplet(),
            self.store.all("firewall"),
            clusters=self.databases.every(),
            isolated={entry["droplet"] for entry in self.store.all("isolated")},
            edge_ranges=self.settings.edge_ranges,
        )

    def isolate(self, droplet: int, *, isolated: bool) -> None:
        """Pull a droplet's cables, or put them back."""
        if isolated:
            self.store.put("isolated", droplet, {"droplet": droplet})
        else:
            self.store.delete("isolated", droplet)
        self.fabric.changed()

    # Actions

    def begin(
        self,
        kind: str,
        *,
        resource: tuple[str, int | str],
        region: str,
        holds: tuple[str | int, ...] = (),
        **parameters: Any,
    ) -> Document:
        """Record an action and start it; ApiError 422 when one of the things it `holds` has a pending event."""
        if any(self.pending(thing) for thing in holds):
            raise pending_event()
        number = self.store.next_number("action", first=2_000_000_001)
        action: Document = {
            "id": number,
            "type": kind,
            "status": "in-progress",
            "started_at": self.stamp(),
            "completed_at": None,
            "resource_type": resource[0],
            "resource": resource[1],
            "region": region,
            "holds": list(holds),
            "parameters": parameters,
        }
        self.store.put("action", number, action)
        for thing in holds:
            self.store.put("pending", thing, {"action": number})
        self.tasks.spawn(f"action {number}", self._run(number))
        return action

    def pending(self, thing: str | int) -> bool:
        """Whether an action is at work on this droplet (by id) or volume (by id)."""
        return self.store.get("pending", thing) is not None

    def doom_droplet(self, droplet: Document) -> None:
        """Take a droplet out of the cloud and destroy its machine in the background."""
        number = droplet["id"]
        with self.store.transaction():
            self.store.delete("droplet", number)
            self.store.delete("isolated", number)
            self.store.put("doomed_droplet", number, droplet)
        self.fabric.changed()
        self.tasks.spawn(destroying(number), destroy_droplet(self, number))

    def doom_volume(self, volume: Document) -> None:
        with self.store.transaction():
            self.store.delete("volume", volume["id"])
            self.store.put("doomed_volume", volume["id"], volume)
        self.tasks.spawn(f"destroy volume {volume['id']}", destroy_volume(self, volume["id"]))

    def doom_image(self, key: str) -> None:
        """Forget an image; its disk goes when no droplet stands on it any more."""
        self.store.put("doomed_image", key, {"key": key})
        self.sweep_images()

    def doom_volume_snapshot(self, key: str) -> None:
        self.store.put("doomed_volume_snapshot", key, {"key": key})
        self.tasks.spawn(f"destroy snapshot {key}", destroy_volume_snapshot(self, key))

    def sweep_images(self) -> None:
        self.tasks.spawn("destroy images", destroy_images(self))

    async def volume_released(self, volume: str) -> None:
        """Until no droplet that is being destroyed holds this volume."""
        holders = [
            doomed["id"] for doomed in self.store.all("doomed_droplet") if volume in doomed["volume_ids"]
        ]
        await self.tasks.wait([destroying(holder) for holder in holders])

    async def _run(self, number: int) -> None:
        action = self.store.get("action", number)
        if action is None:
            return  # the request that wanted it was rolled back
        while True:
            try:
                failure = await self._attempt(action)
                break
            except DiskFullError as error:
                _log.error(
                    "action %d (%s) of %s waits: %s", number, action["type"], action["resource"], error
                )
                await self.store.disk.freed()
        await self.stored(lambda: self._finish(action, failure))

    async def stored(self, write: Callable[[], object]) -> None:
        """Do a write of the store; on a full disk as soon as there is room."""
        while True:
            try:
                write()
                return
            except DiskFullError as error:
                _log.error("%s", error)
                await self.store.disk.freed()

    async def _attempt(self, action: Document) -> str | None:
        """Take the action's step; says why it failed. Raises DiskFullError when it is worth another try."""
        number = action["id"]
        try:
            await self.pause()
            await ACTION_STEPS[action["type"]](self, action)
        except DiskFullError:
            raise
        except MachineError as error:
            if self.store.disk.full():
                raise self.store.disk.error() from error
            _log.error("action %d (%s) of %s: %s", number, action["type"], action["resource"], error)
            return str(error)
        except Exception as error:  # a defect of one step must not leave its droplet locked for ever
            _log.exception("action %d (%s) of %s", number, action["type"], action["resource"])
            return repr(error)
        return None

    def _finish(self, action: Document, failure: str | None) -> None:
        status = "completed" if failure is None else "errored"
        with self.store.transaction():
            done = {**action, "status": status, "completed_at": self.stamp(), "failure": failure}
            self.store.put("action", action["id"], done)
            for thing in action["holds"]:
                self.store.delete("pending", thing)
            if failure is not None and action["type"] in ACTION_UNDO:
                ACTION_UNDO[action["type"]](self, action)

    def _resume_removals(self) -> None:
        for doomed in self.store.all("doomed_droplet"):
            self.tasks.spawn(destroying(doomed["id"]), destroy_droplet(self, doomed["id"]))
        for doomed in self.store.all("doomed_volume"):
            self.tasks.spawn(f"destroy volume {doomed['id']}", destroy_volume(self, doomed["id"]))
        for doomed in self.store.all("doomed_volume_snapshot"):
            self.doom_volume_snapshot(doomed["key"])
        self.sweep_images()

    def _idle_droplets(self) -> list[Document]:
        return [droplet for droplet in self.store.all("droplet") if not self.pending(droplet["id"])]

    async def _restore(self, droplet: Document) -> None:
        """Make one machine as its droplet says: on or off."""
        machine = droplet["id"]
        try:
            if droplet["status"] == "active" and not self.machines.running(machine):
                async with self.boots:
                    await self.machines.start(self.spec(droplet))
            elif droplet["status"] == "off" and self.machines.running(machine):
                await self.machines.stop(machine, graceful=False)
        except MachineError as error:
            _log.error("droplet %d could not be started again, it is off now: %s", machine, error)
            self.change("droplet", machine, status="off")

    def _volumes_of(self, droplet: Document) -> Iterator[Document]:
        for key in droplet["volume_ids"]:
            volume = self.store.get("volume", key)
            if volume is not None:
                yield volume


def destroying(droplet: int) -> str:
    """The name of the background work that destroys a droplet."""
    return f"destroy droplet {droplet}"
