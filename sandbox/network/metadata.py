"""The metadata service at 169.254.169.254: what a droplet may know about itself, told by its source address.

Paths and answers: https://docs.digitalocean.com/reference/api/metadata/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.machines.port import Interface, MachineSpec
from sandbox.network.plan import RESOLVER

_ROOT = "/metadata/v1"

# A directory of the service: names to directories or to plain text.
Tree = Mapping[str, "Tree | str"]


@dataclass(frozen=True, slots=True)
class MetadataDocument:
    """Everything the service says about one droplet."""

    machine: MachineSpec
    vendor_data: str = ""
    nameservers: tuple[str, ...] = (RESOLVER,)

    def tree(self) -> Tree:
        """The document as directories, in the order of the real service's index."""
        machine = self.machine
        unassigned: Tree = {"ipv4": {"active": "false"}}
        return {
            "id": str(machine.id),
            "hostname": machine.hostname,
            "user-data": machine.user_data,
            "vendor-data": self.vendor_data,
            "public-keys": _lines(machine.ssh_keys),
            "region": machine.region,
            "interfaces": {
                "public": {"0": _interface_tree(machine.public, "public")},
                "private": {"0": _interface_tree(machine.private, "private")},
            },
            "dns": {"nameservers": _lines(self.nameservers)},
            "floating_ip": unassigned,
            "reserved_ip": unassigned,
            "tags": _lines(machine.tags),
            "features": {"dhcp_enabled": "false"},
        }

    def json(self) -> dict[str, Any]:
        """The whole document at once."""
        machine = self.machine
        document: dict[str, Any] = {
            "droplet_id": machine.id,
            "hostname": machine.hostname,
            "vendor_data": self.vendor_data,
            "public_keys": list(machine.ssh_keys),
            "region": machine.region,
            "interfaces": {
                "private": [_interface_json(machine.private, "private")],
                "public": [_interface_json(machine.public, "public")],
            },
            "floating_ip": {"ipv4": {"active": False}},
            "reserved_ip": {"ipv4": {"active": False}},
            "dns": {"nameservers": list(self.nameservers)},
            "tags": list(machine.tags) or None,
            "features": {"dhcp_enabled": False},
        }
        if machine.user_data:
            document["user_data"] = machine.user_data
        return document


Lookup = Callable[[str], MetadataDocument | None]


def create_metadata_app(lookup: Lookup) -> Starlette:
    """The service; `lookup` finds a droplet by its public IPv4 address, None when it is nobody's."""

    async def answer(request: Request) -> Response:
        document = lookup(request.client.host) if request.client else None
        if document is None:
            return _not_found()
        if request.url.path == f"{_ROOT}.json":
            return JSONResponse(document.json())
        return _walk(document.tree(), request.url.path.removeprefix(_ROOT), request)

    paths = (f"{_ROOT}.json", _ROOT, f"{_ROOT}/{{path:path}}")
    return Starlette(routes=[Route(path, answer, methods=["GET"]) for path in paths])


def _walk(tree: Tree, path: str, request: Request) -> Response:
    here: Tree | str = tree
    for name in path.strip("/").split("/") if path.strip("/") else []:
        if isinstance(here, str) or name not in here:
            return _not_found()
        here = here[name]
    if isinstance(here, str):
        return _not_found() if path.endswith("/") else PlainTextResponse(here)
    if not path.endswith("/"):
        return RedirectResponse(f"{request.url.path}/", status_code=301)
    return PlainTextResponse(
        _lines(name if isinstance(entry, str) else f"{name}/" for name, entry in here.items())
    )


def _interface_tree(interface: Interface, kind: str) -> Tree:
    address = _address(interface)
    ipv4 = {"address": address["ip_address"], "netmask": address["netmask"], "gateway": address["gateway"]}
    known: Tree = {"mac": interface.mac, "type": kind, "ipv4": ipv4}
    if interface.ipv6 is None:
        return known
    ipv6 = interface.ipv6
    own = {"address": ipv6.address, "cidr": str(ipv6.prefix), "gateway": ipv6.gateway}
    return {**known, "ipv6": own}


def _interface_json(interface: Interface, kind: str) -> dict[str, Any]:
    known: dict[str, Any] = {"ipv4": _address(interface), "mac": interface.mac, "type": kind}
    if interface.ipv6 is not None:
        ipv6 = interface.ipv6
        known["ipv6"] = {"ip_address": ipv6.address, "cidr": ipv6.prefix, "gateway": ipv6.gateway}
    return known


def _address(interface: Interface) -> dict[str, str]:
    """A VPC has no gateway of its own; the service names the range's first address, which nobody else may have."""
    place = IPv4Interface(f"{interface.address}/{interface.prefix}")
    return {
        "ip_address": interface.address,
        "netmask": str(place.netmask),
        "gateway": interface.gateway or str(place.network[1]),
    }


def _lines(entries: Iterable[str]) -> str:
    return "\n".join(entries)


def _not_found() -> Response:
    return PlainTextResponse("not found", status_code=404)
