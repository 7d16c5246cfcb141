"""An order for droplets: checked whole against catalog, account and image before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from sandbox.api.addresses import AddressesExhaustedError, private_interface, public_interface, with_ipv6
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import images, ssh_keys, tags, vpcs
from sandbox.api.digitalocean.droplet_view import DEFAULT_POLICY
from sandbox.api.errors import unprocessable
from sandbox.store import Document

if TYPE_CHECKING:
    from sandbox.api.digitalocean.droplets import NewDroplets

# https://docs.digitalocean.com/reference/api/ (droplets_create: up to ten at a time; user_data at most 64 KiB)
_MOST_AT_ONCE = 10
_MOST_USER_DATA = 64 * 1024
# https://docs.digitalocean.com/products/volumes/details/limits/
MOST_VOLUMES = 15


@dataclass(frozen=True, slots=True)
class Order:
    """A create request that can be filled."""

    body: NewDroplets
    region: str
    image: Document
    keys: tuple[str, ...]
    vpc: Document


def check(cloud: Cloud, body: NewDroplets, count: int) -> Order:
    """ApiError 422 with the real API's words for the first thing that is wrong."""
    _check_count(cloud, body, count)
    vpc = None if body.vpc_uuid is None else cloud.store.get("vpc", body.vpc_uuid)
    if body.vpc_uuid is not None and vpc is None:
        raise unprocessable(f"vpc_uuid: the VPC {body.vpc_uuid} does not exist")
    region = _region(cloud, body, vpc)
    image = _image(cloud, body, region)
    if body.user_data is not None and len(body.user_data.encode()) > _MOST_USER_DATA:
        raise unprocessable(f"User data is too long (maximum is {_MOST_USER_DATA} bytes)")
    if not body.public_networking:
        raise unprocessable(
            "public_networking: droplets without a public interface do not exist in the sandbox"
        )
    if body.ipv6:
        network6(cloud)
    _check_volumes(cloud, body, region)
    for name in body.tags or ():
        tags.check(name)
    keys = _keys(cloud, body)
    return Order(body=body, region=region, image=image, keys=keys, vpc=vpc or vpcs.default_of(cloud, region))


def fill(cloud: Cloud, order: Order, name: str) -> tuple[Document, Document]:
    """Make one droplet of the order: its document, and the action that boots it."""
    body, store = order.body, cloud.store
    number = store.next_number("droplet", first=100_001)
    size = cloud.catalog.sizes[body.size]
    droplet: Document = {
        "id": number,
        "name": name,
        "hostname": name,
        "region": order.region,
        "size": body.size,
        "disk": size["disk"],
        "image": order.image,
        "image_key": images.key_of(order.image),
        "status": "new",
        "created_at": cloud.stamp(),
        "tags": tags.ensure(store, body.tags or ()),
        "user_data": body.user_data or "",
        "ssh_keys": list(order.keys),
        "vpc": order.vpc["id"],
        "volume_ids": [],
        "monitoring": body.monitoring,
        "agent": body.with_droplet_agent is not False,
        "backups": body.backups,
        "backup_policy": _policy(body),
        **_cards(cloud, order, number),
    }
    store.put("droplet", number, droplet)
    tags.note_tagged(store, droplet["tags"], "droplets", f"/v2/droplets/{number}")
    _give_volumes(cloud, droplet, body.volumes or ())
    cloud.fabric.changed()
    action = cloud.begin("create", resource=("droplet", number), region=order.region, holds=(number,))
    return store.get("droplet", number) or droplet, action


def _check_count(cloud: Cloud, body: NewDroplets, count: int) -> None:
    if not 1 <= count <= _MOST_AT_ONCE:
        raise unprocessable(f"You can create 1 to {_MOST_AT_ONCE} droplets at a time, not {count}.")
    if count > 1 and body.volumes:
        raise unprocessable("volumes: a volume can be attached to one droplet only")
    if len(cloud.store.all("droplet")) + count > cloud.settings.droplet_limit:
        raise unprocessable("creating this/these droplet(s) will exceed your droplet limit")


def _region(cloud: Cloud, body: NewDroplets, vpc: Document | None) -> str:
    region = body.region or (vpc["region"] if vpc else None) or cloud.catalog.open_regions()[0]
    if region not in cloud.catalog.regions:
        raise unprocessable("You specified an invalid region for Droplet creation.")
    if region not in cloud.catalog.open_regions():
        raise unprocessable("Region is not available")
    if vpc is not None and vpc["region"] != region:
        raise unprocessable(f"vpc_uuid: the VPC {vpc['id']} is in {vpc['region']}, not in {region}")
    size = cloud.catalog.sizes.get(body.size)
    if size is None:
        raise unprocessable("You specified an invalid size for Droplet creation.")
    if region not in size["regions"] or not size["available"]:
        raise unprocessable("Size is not available in this region.")
    return region


def _image(cloud: Cloud, body: NewDroplets, region: str) -> Document:
    image = images.bootable(cloud, body.image)
    if image is None:
        raise unprocessable("You specified an invalid image for Droplet creation.")
    if region not in image["regions"]:
        raise unprocessable("The image you specified is not available in the selected region.")
    check_disk(cloud, image, body.size)
    return image


def network6(cloud: Cloud) -> IPv6Network:
    """Where droplets get IPv6 addresses from; 422 in a cloud whose machines have none."""
    network = cloud.settings.public_network6
    if network is None:
        raise unprocessable("ipv6: simulated machines have no IPv6; start the sandbox with `--machines real`")
    return network


def check_disk(cloud: Cloud, image: Document, size: str) -> None:
    disk = cloud.catalog.sizes[size]["disk"]
    if disk < image["min_disk_size"]:
        raise unprocessable(
            f"Cannot create a droplet with a smaller disk than the image: {size} has {disk} GB, "
            f"the image needs {image['min_disk_size']} GB"
        )


def _keys(cloud: Cloud, body: NewDroplets) -> tuple[str, ...]:
    found = {name: ssh_keys.find(cloud.store, name) for name in body.ssh_keys or ()}
    if unknown := [str(name) for name, key in found.items() if key is None]:
        raise unprocessable(f"{', '.join(unknown)} are invalid key identifiers for Droplet creation.")
    return tuple(str(key["public_key"]).strip() for key in found.values() if key is not None)


def _check_volumes(cloud: Cloud, body: NewDroplets, region: str) -> None:
    if len(body.volumes or ()) > MOST_VOLUMES:
        raise unprocessable(f"volumes: at most {MOST_VOLUMES} volumes can be attached to a droplet")
    for key in body.volumes or ():
        volume = cloud.store.get("volume", key)
        if volume is None:
            raise unprocessable(f"volumes: the volume {key} does not exist")
        if volume["region"] != region:
            raise unprocessable(f"volumes: the volume {key} is in {volume['region']}, not in {region}")
        if volume["droplet_ids"] or cloud.pending(key):
            raise unprocessable(f"volumes: the volume {key} is already attached to a droplet")


def _give_volumes(cloud: Cloud, droplet: Document, keys: tuple[str, ...] | list[str]) -> None:
    wanted = list(dict.fromkeys(keys))
    for key in wanted:
        cloud.change("volume", key, droplet_ids=[droplet["id"]])
    cloud.change("droplet", droplet["id"], volume_ids=wanted)


def _policy(body: NewDroplets) -> Document | None:
    if not body.backups:
        return None
    chosen = body.backup_policy
    return DEFAULT_POLICY if chosen is None else chosen.model_dump(exclude_none=True)


def _cards(cloud: Cloud, order: Order, number: int) -> Document:
    known = [*cloud.every_droplet(), *cloud.every_database_node()]
    public = {holder["public"]["address"] for holder in known}
    private = {holder["private"]["address"] for holder in known if holder["vpc"] == order.vpc["id"]}
    network = IPv4Network(order.vpc["ip_range"])
    try:
        card = public_interface(cloud.store, cloud.settings.public_network, number, public)
        return {
            "public": with_ipv6(card, network6(cloud), number) if order.body.ipv6 else card,
            "private": private_interface(cloud.store, network, number, private),
        }
    except AddressesExhaustedError as error:
        raise unprocessable(f"vpc_uuid: {error}") from error
