"""What actions do to machines. Every step may run again after a crash and then finishes the work."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from ipaddress import IPv6Network
from typing import TYPE_CHECKING

from sandbox.api.addresses import with_ipv6
from sandbox.api.capabilities import VolumeDisks
from sandbox.machines.port import MachineError
from sandbox.store import Document

if TYPE_CHECKING:
    from sandbox.api.cloud import Cloud

_log = logging.getLogger(__name__)

Step = Callable[["Cloud", Document], Awaitable[None]]

_GIGABYTE = 1_000_000_000


async def create(cloud: Cloud, action: Document) -> None:
    await _boot(cloud, action["resource"], fresh=True)


async def rebuild(cloud: Cloud, action: Document) -> None:
    """A new root from an image; id, addresses and volumes stay."""
    number, chosen = action["resource"], action["parameters"]
    await cloud.machines.stop(number, graceful=False)
    name = _droplet(cloud, number)["name"]
    cloud.change("droplet", number, image=chosen["image"], image_key=chosen["image_key"], hostname=name)
    cloud.sweep_images()
    await _boot(cloud, number, fresh=True)


async def power_on(cloud: Cloud, action: Document) -> None:
    await _boot(cloud, action["resource"], fresh=False)


async def power_off(cloud: Cloud, action: Document) -> None:
    await cloud.machines.stop(action["resource"], graceful=False)
    cloud.change("droplet", action["resource"], status="off")


async def shutdown(cloud: Cloud, action: Document) -> None:
    """Best effort, as documented: the action says that init was asked, not that the machine is off."""
    await cloud.machines.stop(action["resource"], graceful=True)
    if not cloud.machines.running(action["resource"]):
        cloud.change("droplet", action["resource"], status="off")


async def reboot(cloud: Cloud, action: Document) -> None:
    await cloud.machines.stop(action["resource"], graceful=True)
    await _boot(cloud, action["resource"], fresh=False)


async def power_cycle(cloud: Cloud, action: Document) -> None:
    await cloud.machines.stop(action["resource"], graceful=False)
    await _boot(cloud, action["resource"], fresh=False)


async def resize(cloud: Cloud, action: Document) -> None:
    """Memory and processors change with the next start; the disk only when asked, and never back."""
    chosen = action["parameters"]
    size = cloud.catalog.sizes[chosen["size"]]
    droplet = _droplet(cloud, action["resource"])
    disk = size["disk"] if chosen["disk"] else droplet["disk"]
    cloud.change("droplet", action["resource"], size=chosen["size"], disk=disk)


async def snapshot(cloud: Cloud, action: Document) -> None:
    chosen = action["parameters"]
    number = chosen["image"]
    droplet = _droplet(cloud, action["resource"])
    size = await cloud.machines.snapshot(droplet["id"], str(number))
    image: Document = {
        "id": number,
        "name": chosen["name"],
        "type": "snapshot",
        "distribution": droplet["image"]["distribution"],
        "slug": None,
        "public": False,
        "regions": [droplet["region"]],
        # Clients find the snapshot of an action by these two times being equal.
        "created_at": action["started_at"],
        "min_disk_size": droplet["disk"],
        "size_gigabytes": round(size / _GIGABYTE, 2),
        "description": "",
        "tags": [],
        "droplet": droplet["id"],
    }
    cloud.store.put("image", number, image)


async def rename(cloud: Cloud, action: Document) -> None:
    cloud.change("droplet", action["resource"], name=action["parameters"]["name"])


async def enable_ipv6(cloud: Cloud, action: Document) -> None:
    """An address and a route to it; what runs in the machine is its owner's affair, as documented."""
    number = action["resource"]
    network = IPv6Network(action["parameters"]["network"])
    cloud.change("droplet", number, public=with_ipv6(_droplet(cloud, number)["public"], network, number))
    cloud.fabric.changed()


async def set_backups(cloud: Cloud, action: Document) -> None:
    """Switch backups on or off, or change when they are taken."""
    chosen = action["parameters"]
    cloud.change("droplet", action["resource"], backups=chosen["enabled"], backup_policy=chosen["policy"])


async def nothing(cloud: Cloud, action: Document) -> None:
    """An action whose effect this cloud has no machinery for and nobody can see over the API."""


async def attach_volume(cloud: Cloud, action: Document) -> None:
    """Plug a volume in; a droplet that is off gets it at its next start."""
    volume, number = _volume(cloud, action), action["parameters"]["droplet"]
    await cloud.volume_released(volume["id"])
    if cloud.machines.running(number):
        await cloud.machines.attach_volume(number, cloud.volume_spec(volume))
    droplet = _droplet(cloud, number)
    with cloud.store.transaction():
        cloud.change("volume", volume["id"], droplet_ids=[number])
        held = [*(key for key in droplet["volume_ids"] if key != volume["id"]), volume["id"]]
        cloud.change("droplet", number, volume_ids=held)


async def detach_volume(cloud: Cloud, action: Document) -> None:
    volume, number = _volume(cloud, action), action["parameters"]["droplet"]
    if cloud.machines.running(number):
        await cloud.machines.detach_volume(number, cloud.volume_spec(volume))
    droplet = _droplet(cloud, number)
    with cloud.store.transaction():
        cloud.change("volume", volume["id"], droplet_ids=[])
        cloud.change(
            "droplet", number, volume_ids=[key for key in droplet["volume_ids"] if key != volume["id"]]
        )


async def resize_volume(cloud: Cloud, action: Document) -> None:
    grown = {**_volume(cloud, action), "size_gigabytes": action["parameters"]["size_gigabytes"]}
    await _disks(cloud).resize_volume(cloud.volume_spec(grown))
    cloud.change("volume", grown["id"], size_gigabytes=grown["size_gigabytes"])


async def snapshot_volume(cloud: Cloud, action: Document) -> None:
    volume, key = _volume(cloud, action), action["parameters"]["snapshot"]
    size = await _disks(cloud).snapshot_volume(volume["id"], key)
    cloud.change("volume_snapshot", key, size_gigabytes=round(size / _GIGABYTE, 2))


async def restore_volume(cloud: Cloud, action: Document) -> None:
    volume = _volume(cloud, action)
    await _disks(cloud).restore_volume(cloud.volume_spec(volume), action["parameters"]["snapshot"])


def forget_volume_snapshot(cloud: Cloud, action: Document) -> None:
    """A snapshot that failed is none."""
    key = action["parameters"]["snapshot"]
    if cloud.store.delete("volume_snapshot", key):
        cloud.doom_volume_snapshot(key)


def forget_volume(cloud: Cloud, action: Document) -> None:
    """A volume without the data it was to be made of would be taken for an empty one."""
    volume = cloud.store.get("volume", action["resource"])
    if volume is not None:
        cloud.doom_volume(volume)


async def transfer_image(cloud: Cloud, action: Document) -> None:
    image = cloud.store.get("image", action["resource"])
    if image is None:
        raise MachineError(f"image {action['resource']} is gone")
    regions = [*image["regions"], action["region"]]
    cloud.store.put("image", image["id"], {**image, "regions": list(dict.fromkeys(regions))})


async def destroy_droplet(cloud: Cloud, number: int) -> None:
    """Remove the machine of a droplet that has left the cloud; on failure the next start tries again."""
    await cloud.pause()
    if cloud.store.get("doomed_droplet", number) is None:
        return  # the request that wanted it was rolled back
    try:
        await cloud.machines.destroy(number)
    except MachineError as error:
        _log.error("the machine of droplet %d could not be removed: %s", number, error)
        return
    await cloud.stored(lambda: cloud.store.delete("doomed_droplet", number))
    cloud.fabric.changed()
    cloud.sweep_images()


async def destroy_volume(cloud: Cloud, key: str) -> None:
    await cloud.volume_released(key)
    if cloud.store.get("doomed_volume", key) is None:
        return
    try:
        await cloud.machines.delete_volume(key)
    except MachineError as error:
        _log.error("volume %s could not be removed: %s", key, error)
        return
    await cloud.stored(lambda: cloud.store.delete("doomed_volume", key))


async def destroy_volume_snapshot(cloud: Cloud, key: str) -> None:
    if cloud.store.get("doomed_volume_snapshot", key) is None:
        return
    try:
        await _disks(cloud).delete_volume_snapshot(key)
    except MachineError as error:
        _log.error("volume snapshot %s could not be removed: %s", key, error)
        return
    await cloud.stored(lambda: cloud.store.delete("doomed_volume_snapshot", key))


async def destroy_images(cloud: Cloud) -> None:
    """Remove the disks of forgotten images that no droplet stands on."""
    await cloud.pause()
    kept: set[str] = set()
    while key := _removable_image(cloud, kept):
        try:
            await cloud.machines.delete_image(key)
        except MachineError as error:
            _log.error("image %s could not be removed: %s", key, error)
            kept.add(key)
        else:
            await cloud.stored(partial(cloud.store.delete, "doomed_image", key))


def _removable_image(cloud: Cloud, kept: set[str]) -> str | None:
    busy = kept | {droplet["image_key"] for droplet in cloud.every_droplet()}
    doomed = (str(entry["key"]) for entry in cloud.store.all("doomed_image"))
    return next((key for key in doomed if key not in busy), None)


async def _boot(cloud: Cloud, number: int, *, fresh: bool) -> None:
    """Start a droplet's machine, made anew first if `fresh`; then the droplet is active."""
    await cloud.fabric.applied()
    for volume in _droplet(cloud, number)["volume_ids"]:
        await cloud.volume_released(volume)
    spec = cloud.spec(_droplet(cloud, number))
    async with cloud.boots:
        if fresh:
            await cloud.machines.create(spec)
        await cloud.machines.start(spec)
    cloud.change("droplet", number, status="active")


def _droplet(cloud: Cloud, number: int) -> Document:
    droplet = cloud.store.get("droplet", number)
    if droplet is None:
        raise MachineError(f"droplet {number} is gone")
    return droplet


def _disks(cloud: Cloud) -> VolumeDisks:
    if not isinstance(cloud.machines, VolumeDisks):
        raise MachineError("these machines cannot copy or grow a volume's data")
    return cloud.machines


def _volume(cloud: Cloud, action: Document) -> Document:
    volume = cloud.store.get("volume", action["resource"])
    if volume is None:
        raise MachineError(f"volume {action['resource']} is gone")
    return volume


ACTION_STEPS: Mapping[str, Step] = {
    "create": create,
    "rebuild": rebuild,
    "restore": rebuild,
    "power_on": power_on,
    "power_off": power_off,
    "shutdown": shutdown,
    "reboot": reboot,
    "power_cycle": power_cycle,
    "resize": resize,
    "snapshot": snapshot,
    "rename": rename,
    "enable_ipv6": enable_ipv6,
    "enable_backups": set_backups,
    "disable_backups": set_backups,
    "change_backup_policy": set_backups,
    "password_reset": nothing,
    "attach_volume": attach_volume,
    "detach_volume": detach_volume,
    "resize_volume": resize_volume,
    "snapshot_volume": snapshot_volume,
    "restore_volume": restore_volume,
    "transfer": transfer_image,
}

# What is taken back, in the transaction that records the failure, when an action of that type has failed.
ACTION_UNDO: Mapping[str, Callable[[Cloud, Document], None]] = {
    "snapshot_volume": forget_volume_snapshot,
    "restore_volume": forget_volume,
}
