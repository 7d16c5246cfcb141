"""Who may reach which port of which machine of a stack, read from the firewall's table, and places to try it from.

What must be open is read from the rows of `components.model.TABLE` alone, not from their renderings, so that a wrong
rendering is found, and so is a table that lets in more than the machines do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Flag, StrEnum, auto
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

from components import model
from components.model import Party, Role, Service
from sandbox.machines.port import Interface, Ipv6
from sandbox.network.network import configure_as_machine
from sandbox.network.plan import DESK, DESK6, VISITOR, VISITOR6, Plan
from sandbox.network.port import Attachment
from sandbox.network.vantage import Vantage
from tests.live_sandbox import LiveSandbox
from tests.live_stack import LiveStack, address_of
from tests.machine_lab import until

SLOTS = {Role.WEB: "web-1", Role.DATABASE: "database-1"}
EVERY_PORT = range(1, 65536)
PORTS = {
    Service.SSH: model.SSH_PORT,
    Service.HTTPS: model.HTTPS_PORT,
    Service.DATABASE: model.database_port("mysql"),
    Service.PEER: model.PEER_PORT,
    Service.FAILOVER: model.FAILOVER_PORT,
}
_BOOT_SECONDS = 60


class Layer(Flag):
    """What stands between a packet and a service."""

    NONE = 0
    CLOUD = auto()
    MACHINE = auto()
    BOTH = CLOUD | MACHINE


class Side(StrEnum):
    """The network over which machines are reached."""

    PUBLIC = "public"
    PUBLIC6 = "public IPv6"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Place:
    """Where packets come from, and what the firewalls may know of them."""

    name: str
    vantage: Vantage
    source: str  # the address to send from
    seen: str  # the address that machines see
    side: Side
    member: Role | None = None  # set for machines of the stack
    wired: bool = True  # whether the cloud leads from there to the stack's machines at all

    @property
    def label(self) -> str:
        return f"{self.name} ({self.side})"


@dataclass(frozen=True, slots=True)
class Target:
    """A machine of the stack."""

    role: Role
    droplet: Mapping[str, Any]

    def address(self, side: Side) -> str:
        return address_on(self.droplet, side)


@dataclass(frozen=True, slots=True)
class Field:
    """The stack's network as it stands: who sends, who listens, and where the table's parties are."""

    sandbox: LiveSandbox
    places: tuple[Place, ...]
    targets: tuple[Target, ...]
    ranges: Mapping[Party, tuple[str, ...]]

    def pairs(self) -> Iterator[tuple[Place, Target]]:
        """Every place with every machine but itself."""
        for place in self.places:
            for target in self.targets:
                if place.source != target.address(place.side):
                    yield place, target

    def expected(self, place: Place, role: Role, layer: Layer) -> frozenset[int]:
        """The ports of a role's machines that must be open to a place when only these layers stand."""
        if not place.wired:
            return frozenset()
        everything = frozenset(EVERY_PORT)
        cloud = self._let_in(place, role, self._cloud_knows) if Layer.CLOUD in layer else everything
        machine = self._let_in(place, role, self._machine_knows) if Layer.MACHINE in layer else everything
        return cloud & machine

    def _let_in(
        self, place: Place, role: Role, knows: Callable[[Place, Role | Party], bool]
    ) -> frozenset[int]:
        return frozenset(
            PORTS[rule.service]
            for rule in model.TABLE
            if rule.to in (None, role) and knows(place, rule.source)
        )

    def _cloud_knows(self, place: Place, source: Role | Party) -> bool:
        """The cloud tells machines by their tags, on every network."""
        if source is Party.STACK:
            return place.member is not None
        return self._by_address(place, source) if isinstance(source, Party) else place.member is source

    def _machine_knows(self, place: Place, source: Role | Party) -> bool:
        """A machine tells its peers by the private network's range, until there is a datastore."""
        if isinstance(source, Party) and source is not Party.STACK:
            return self._by_address(place, source)
        return place.side is Side.PRIVATE and (source is Party.STACK or source in SLOTS)

    def _by_address(self, place: Place, party: Party) -> bool:
        return any(ip_address(place.seen) in ip_network(entry) for entry in self.ranges[party])


def address_on(droplet: Mapping[str, Any], side: Side) -> str:
    """A droplet's address on one of its networks."""
    if side is Side.PUBLIC6:
        return str(droplet["networks"]["v6"][0]["ip_address"])
    return address_of(droplet, side.value)


def survey(stack: LiveStack, droplets: Mapping[str, tuple[Mapping[str, Any], Role | None]]) -> Field:
    """The field of a stack: the world outside, its own machines, and other droplets with the role they pass for.

    Droplets in another private network than the stack's are not wired to its machines there.
    """
    sandbox, plan = stack.sandbox, stack.sandbox.plan
    published = sandbox.cloudflare("GET", "ips")
    ranges = {Side.PUBLIC: published["ipv4_cidrs"], Side.PUBLIC6: published["ipv6_cidrs"]}
    targets = tuple(Target(role, stack.droplet(slot)) for role, slot in SLOTS.items())
    places = [
        Place("internet", Vantage(plan.internet), VISITOR, VISITOR, Side.PUBLIC),
        Place("internet", Vantage(plan.internet), VISITOR6, VISITOR6, Side.PUBLIC6),
        Place("admin", Vantage(), str(plan.desk), DESK, Side.PUBLIC),
        Place("admin", Vantage(), str(plan.desk6), DESK6, Side.PUBLIC6),
    ]
    for side, networks in ranges.items():
        for name, number in (("edge", 0), ("edge, last range", -1)):
            address = str(ip_network(networks[number])[9])
            places.append(Place(name, Vantage(plan.edge), address, address, side))
    known = {target.role.value: (target.droplet, target.role) for target in targets}
    home = targets[0].droplet["vpc_uuid"]
    for name, (droplet, member) in {**known, **droplets}.items():
        vantage, near = Vantage(plan.droplet(droplet["id"])), droplet["vpc_uuid"] == home
        for side in Side:
            own = address_on(droplet, side)
            places.append(Place(name, vantage, own, own, side, member, near or side is not Side.PRIVATE))
    parties = {
        Party.ADMIN: tuple(json.loads(stack.setting("admin.cidrs"))),
        Party.EDGE: (*ranges[Side.PUBLIC], *ranges[Side.PUBLIC6]),
    }
    return Field(sandbox, tuple(places), targets, parties)


@contextmanager
def droplet(sandbox: LiveSandbox, **order: Any) -> Iterator[Mapping[str, Any]]:
    """A droplet that no stack made; yielded as soon as its addresses are known, while it boots."""
    body = {"region": "lon1", "size": "s-1vcpu-1gb", "ipv6": True, **order}
    made: Mapping[str, Any] = sandbox.api("POST", "droplets", body)["droplet"]
    try:
        yield made
    finally:
        asyncio.run(settled(sandbox, made["id"]))
        sandbox.api("DELETE", f"droplets/{made['id']}")


@contextmanager
def empty_droplet(sandbox: LiveSandbox, **order: Any) -> Iterator[Mapping[str, Any]]:
    """A droplet whose machine is off, while somebody else sends from its cables and with its addresses.

    It takes no memory, and the cloud knows it as any other.
    """
    with droplet(sandbox, image="debian-13-x64", **order) as made:
        number = made["id"]
        asyncio.run(settled(sandbox, number))
        sandbox.api("POST", f"droplets/{number}/actions", {"type": "power_off"})
        asyncio.run(settled(sandbox, number))
        asyncio.run(configure_as_machine(sandbox.plan, _attachment(sandbox.plan, made)))
        yield made


def _attachment(plan: Plan, made: Mapping[str, Any]) -> Attachment:
    """Addresses and gateways alone count: cards and firewalls are the cloud's own."""
    [own6] = made["networks"]["v6"]
    ipv6 = Ipv6(own6["ip_address"], own6["netmask"], own6["gateway"])
    cards = {}
    for own in made["networks"]["v4"]:
        prefix = IPv4Network(f"0.0.0.0/{own['netmask']}").prefixlen
        cards[own["type"]] = (own["ip_address"], prefix, own["gateway"])
    return Attachment(
        droplet=made["id"],
        public=Interface("eth0", "", *cards["public"], ipv6),
        private=Interface("eth1", "", *cards["private"]),
        vpc=made["vpc_uuid"],
        firewalled=False,
        inbound=(),
        outbound=(),
    )


async def settled(sandbox: LiveSandbox, number: int) -> None:
    """Until every action on the droplet is done."""

    async def done() -> bool:
        actions = sandbox.api("GET", f"droplets/{number}/actions")["actions"]
        return all(action["status"] == "completed" for action in actions)

    await until(done, _BOOT_SECONDS)


async def booted(sandbox: LiveSandbox, number: int) -> None:
    """Until every unit has started or failed; a machine without its secrets has some that fail."""

    async def done() -> bool:
        try:
            _, said = await sandbox.inside.attempt(number, "systemctl is-system-running")
        except (FileNotFoundError, IndexError):
            return False
        return said.strip() in {"running", "degraded"}

    await until(done, _BOOT_SECONDS)


@contextmanager
def only(layer: Layer, field: Field) -> Iterator[None]:
    """These layers stand and no other."""
    with ExitStack() as removed:
        if Layer.CLOUD not in layer:
            removed.enter_context(without_cloud_firewall(field.sandbox))
        if Layer.MACHINE not in layer:
            removed.enter_context(_without_machine_firewall(field))
        yield


@contextmanager
def without_cloud_firewall(sandbox: LiveSandbox) -> Iterator[None]:
    """Unbind the stack's cloud firewalls from their tags; a droplet under none is open to all."""
    firewalls = sandbox.api("GET", "firewalls")["firewalls"]
    assert firewalls, "there is no cloud firewall to take away"
    try:
        for firewall in firewalls:
            sandbox.api("DELETE", f"firewalls/{firewall['id']}/tags", {"tags": firewall["tags"]})
        _await_firewalls(sandbox)
        yield
    finally:
        for firewall in firewalls:
            sandbox.api("POST", f"firewalls/{firewall['id']}/tags", {"tags": firewall["tags"]})
        _await_firewalls(sandbox)


def _await_firewalls(sandbox: LiveSandbox) -> None:
    async def applied() -> bool:
        return all(row["status"] == "succeeded" for row in sandbox.api("GET", "firewalls")["firewalls"])

    asyncio.run(until(applied))


@contextmanager
def _without_machine_firewall(field: Field) -> Iterator[None]:
    """Take the machines' own rules away; restored from the machines' own files."""
    droplets = [target.droplet["id"] for target in field.targets]
    try:
        for number in droplets:
            asyncio.run(field.sandbox.inside.run(number, "nft delete table inet flotilla"))
        yield
    finally:
        for number in droplets:
            asyncio.run(field.sandbox.inside.run(number, "systemctl reload nftables"))
