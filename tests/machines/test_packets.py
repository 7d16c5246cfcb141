"""The firewall table against packets: who reaches which port of which machine, through each layer alone and both.

What must be open is read from the rows of `components.model.TABLE` alone, not from their renderings, so a wrong
rendering fails here, and so does a table that lets in more than the machines do.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Flag, auto
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from components import model
from components.model import Party, Role
from sandbox.network.plan import DESK, VISITOR
from sandbox.network.vantage import Answer, Vantage
from tests.live_sandbox import LiveSandbox
from tests.live_stack import LiveStack, address_of
from tests.machine_lab import until
from tests.port_scan import Heard, probing, sample, scan_tcp, scan_udp

pytestmark = [pytest.mark.machines, pytest.mark.timeout(300)]

PRESENT = frozenset({Role.WEB, Role.DATABASE})
SLOTS = {Role.WEB: "web-1", Role.DATABASE: "database-1"}
EVERY_PORT = range(1, 65536)
PORTS = sample("flotilla")
_BOOT_SECONDS = 60
_SYN_EVERY_SECONDS = 0.005


class Layer(Flag):
    """What stands between a packet and a service."""

    NONE = 0
    CLOUD = auto()
    MACHINE = auto()
    BOTH = CLOUD | MACHINE


@dataclass(frozen=True, slots=True)
class Place:
    """Where packets come from, and what the firewalls may know of them."""

    name: str
    vantage: Vantage
    source: str  # the address to send from
    seen: str  # the address that machines see
    side: str  # the network over which it reaches them: public or private
    member: Role | None = None  # set for machines of the stack


@dataclass(frozen=True, slots=True)
class Target:
    """A machine of the stack."""

    role: Role
    droplet: Mapping[str, Any]

    def address(self, side: str) -> str:
        return address_of(self.droplet, side)


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
        everything = frozenset(EVERY_PORT)
        cloud = self._let_in(place, role, self._cloud_knows) if Layer.CLOUD in layer else everything
        machine = self._let_in(place, role, self._machine_knows) if Layer.MACHINE in layer else everything
        return cloud & machine

    def _let_in(
        self, place: Place, role: Role, knows: Callable[[Place, Role | Party], bool]
    ) -> frozenset[int]:
        ports = {"ssh": 22, "https": 443, "database": 3306, "peer": 8101}
        return frozenset(
            ports[rule.service]
            for rule in model.TABLE
            if rule.to in (None, role) and knows(place, rule.source)
        )

    def _cloud_knows(self, place: Place, source: Role | Party) -> bool:
        """The cloud tells machines by their tags, on either network."""
        if source is Party.STACK:
            return place.member is not None
        return self._by_address(place, source) if isinstance(source, Party) else place.member is source

    def _machine_knows(self, place: Place, source: Role | Party) -> bool:
        """A machine tells its peers by the private network's range, until there is a datastore."""
        if isinstance(source, Party) and source is not Party.STACK:
            return self._by_address(place, source)
        return place.side == "private" and (source is Party.STACK or source in PRESENT)

    def _by_address(self, place: Place, party: Party) -> bool:
        return any(ip_address(place.seen) in ip_network(entry) for entry in self.ranges[party])


def member_places(
    plan_name: Callable[[int], str], droplet: Mapping[str, Any], name: str, role: Role | None
) -> list[Place]:
    """A droplet sends from two addresses."""
    vantage = Vantage(plan_name(droplet["id"]))
    return [
        Place(f"{name} ({side})", vantage, address_of(droplet, side), address_of(droplet, side), side, role)
        for side in ("public", "private")
    ]


@pytest.fixture(scope="module")
def stranger(stack: LiveStack) -> Iterator[Mapping[str, Any]]:
    """A droplet in the stack's private network that is none of the stack's: it has none of its tags."""
    network = stack.droplet("web-1")["vpc_uuid"]
    with droplet(stack.sandbox, name="stranger", image="debian-13-x64", vpc_uuid=network) as made:
        asyncio.run(booted(stack.sandbox, made["id"]))
        yield made


@pytest.fixture(scope="module")
def field(stack: LiveStack, stranger: Mapping[str, Any]) -> Field:
    sandbox, plan = stack.sandbox, stack.sandbox.plan
    ranges = sandbox.cloudflare("GET", "ips")["ipv4_cidrs"]
    targets = tuple(Target(role, stack.droplet(slot)) for role, slot in SLOTS.items())
    edge = [str(ip_network(entry)[9]) for entry in (ranges[0], ranges[-1])]
    places = [
        Place("internet", Vantage(plan.internet), VISITOR, VISITOR, "public"),
        Place("admin", Vantage(), str(plan.desk), DESK, "public"),
        *(Place(f"edge {address}", Vantage(plan.edge), address, address, "public") for address in edge),
        *member_places(plan.droplet, stranger, "stranger", None),
    ]
    for target in targets:
        places += member_places(plan.droplet, target.droplet, SLOTS[target.role], target.role)
    known = {Party.ADMIN: tuple(json.loads(stack.setting("admin.cidrs"))), Party.EDGE: tuple(ranges)}
    return Field(sandbox, tuple(places), targets, known)


@contextmanager
def droplet(sandbox: LiveSandbox, **order: Any) -> Iterator[Mapping[str, Any]]:
    """A droplet of no stack; yielded as soon as its addresses are known, while it boots."""
    body = {"region": "lon1", "size": "s-1vcpu-1gb", **order}
    number = sandbox.api("POST", "droplets", body)["droplet"]["id"]
    try:
        found: list[Mapping[str, Any]] = []

        async def addressed() -> bool:
            found.append(sandbox.api("GET", f"droplets/{number}")["droplet"])
            return len(found[-1]["networks"]["v4"]) == 2

        asyncio.run(until(addressed))
        yield found[-1]
    finally:
        sandbox.api("DELETE", f"droplets/{number}")


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
def without_cloud_firewall(sandbox: LiveSandbox) -> Iterator[None]:
    """Unbind the stack's cloud firewalls from their tags; a droplet under none is open to all."""
    firewalls = sandbox.api("GET", "firewalls")["firewalls"]
    assert firewalls, "there is no cloud firewall to take away"
    try:
        for firewall in firewalls:
            sandbox.api("DELETE", f"firewalls/{firewall['id']}/tags", {"tags": firewall["tags"]})
        await_firewalls(sandbox)
        yield
    finally:
        for firewall in firewalls:
            sandbox.api("POST", f"firewalls/{firewall['id']}/tags", {"tags": firewall["tags"]})
        await_firewalls(sandbox)


def await_firewalls(sandbox: LiveSandbox) -> None:
    async def settled() -> bool:
        return all(row["status"] == "succeeded" for row in sandbox.api("GET", "firewalls")["firewalls"])

    asyncio.run(until(settled))


@contextmanager
def without_machine_firewall(field: Field) -> Iterator[None]:
    """Take the machines' own rules away; restored from the machines' own files."""
    droplets = [target.droplet["id"] for target in field.targets]
    try:
        for number in droplets:
            asyncio.run(field.sandbox.inside.run(number, "nft delete table inet flotilla"))
        yield
    finally:
        for number in droplets:
            asyncio.run(field.sandbox.inside.run(number, "systemctl reload nftables"))


@contextmanager
def only(layer: Layer, field: Field) -> Iterator[None]:
    with ExitStack() as removed:
        if Layer.CLOUD not in layer:
            removed.enter_context(without_cloud_firewall(field.sandbox))
        if Layer.MACHINE not in layer:
            removed.enter_context(without_machine_firewall(field))
        yield


def shown(ports: frozenset[int]) -> str:
    """All of a few ports, some of many."""
    return ", ".join(str(port) for port in sorted(ports)[:12]) + (" ..." if len(ports) > 12 else "")


@pytest.mark.parametrize(
    "layer", [Layer.BOTH, Layer.CLOUD, Layer.MACHINE, Layer.NONE], ids=lambda layer: layer.name
)
def test_packets_pass_where_the_table_says_and_nowhere_else(field: Field, layer: Layer) -> None:
    """With no layer at all every port must be heard: the proof that the other scans would have heard them."""
    ports = EVERY_PORT if layer is Layer.BOTH else PORTS

    def scan(pair: tuple[Place, Target]) -> list[str]:
        place, target = pair
        address = target.address(place.side)
        wanted = field.expected(place, target.role, layer) & frozenset(ports)
        tcp = scan_tcp(place.vantage, place.source, address, ports)
        inside = field.sandbox.plan.droplet(target.droplet["id"])
        udp = scan_udp(place.vantage, place.source, address, inside, PORTS)
        wrong = tcp.passed ^ wanted
        where = f"{place.name} -> {SLOTS[target.role]} {address}"
        found = [f"{where}: TCP {shown(wrong)}, wanted {shown(wanted)}"] if wrong else []
        wanted_udp = frozenset(PORTS) if layer is Layer.NONE else frozenset()
        if udp != wanted_udp:
            found.append(f"{where}: UDP {shown(udp ^ wanted_udp)}")
        if not tcp.opened <= LISTENING[target.role]:
            found.append(f"{where}: {shown(tcp.opened - LISTENING[target.role])} listen")
        if layer is not Layer.NONE and tcp.opened != wanted:
            found.append(f"{where}: nobody listens on {shown(wanted - tcp.opened)}")
        return found

    with only(layer, field), ThreadPoolExecutor(2) as pool:
        wrong = [line for lines in pool.map(scan, field.pairs()) for line in lines]
    assert wrong == []


# What a machine may have listening at all, on any address but its loopback.
LISTENING = {Role.WEB: {22, 443}, Role.DATABASE: {22, 3306}}


def test_every_range_of_the_edge_reaches_the_members(field: Field) -> None:
    [web] = [target for target in field.targets if target.role is Role.WEB]
    edge, address = Vantage(field.sandbox.plan.edge), web.address("public")
    networks = [ip_network(entry) for entry in field.ranges[Party.EDGE]]
    sources = [str(address) for network in networks for address in (network[0], network[-1])]
    with ThreadPoolExecutor(4) as pool:
        heard = pool.map(lambda source: scan_tcp(edge, source, address, (22, 80, 443)).passed, sources)
    assert dict(zip(sources, heard, strict=True)) == {source: {443} for source in sources}


@pytest.mark.parametrize("role", list(SLOTS))
def test_ipv6_lets_in_the_edge_alone(field: Field, role: Role) -> None:
    """Droplets have no public IPv6 address, but their cards have one on the link: a cable of the test's own leads
    there, past the cloud's firewall."""
    [target] = [target for target in field.targets if target.role is role]
    with ipv6_cable(field, target) as ask:
        assert ask(22, STRANGER_IPV6) is Answer.SILENT
        assert ask(22, EDGE_IPV6) is Answer.SILENT
        assert ask(443, STRANGER_IPV6) is Answer.SILENT
        assert ask(443, EDGE_IPV6) is (Answer.OPEN if role is Role.WEB else Answer.SILENT)
        with without_machine_firewall(field):
            assert ask(22, STRANGER_IPV6) is Answer.OPEN, "the control: without the rules SSH is heard"


# Of https://www.cloudflare.com/ips/
EDGE_IPV6 = "2400:cb00::f"
STRANGER_IPV6 = "2001:db8::f"


@contextmanager
def ipv6_cable(field: Field, target: Target) -> Iterator[Callable[[int, str], Answer]]:
    """A second cable to a machine; yields what a connection over it to a port, from an address, meets."""
    plan = field.sandbox.plan
    # Named as the sandbox's own, so that `down` would take it away if this test is killed.
    desk, machine = f"{plan.internet}6", plan.droplet(target.droplet["id"])
    run(f"ip netns add {desk}")
    try:
        run(f"ip -n {desk} link add near type veth peer name far6 netns {machine}")
        for line in (
            f"{desk} address add {EDGE_IPV6}/128 dev near nodad",
            f"{desk} address add {STRANGER_IPV6}/128 dev near nodad",
            f"{desk} link set near up",
            f"{machine} address add fe80::e/64 dev far6 nodad",
            f"{machine} link set far6 up",
            f"{machine} route add {EDGE_IPV6}/128 dev far6",
            f"{machine} route add {STRANGER_IPV6}/128 dev far6",
        ):
            run(f"ip -n {line}")
        yield lambda port, source: Vantage(desk).probe("fe80::e%near", port, source=source, seconds=1)
    finally:
        run(f"ip netns del {desk}")


def run(line: str) -> None:
    subprocess.run(line.split(), check=True)


@pytest.mark.parametrize("role", list(SLOTS))
def test_no_port_is_open_for_a_moment_while_a_machine_boots(
    stack: LiveStack, field: Field, role: Role
) -> None:
    """The image's first boot as this slot and a second one, SYNs all the time, without the cloud's firewall."""
    sandbox, old = stack.sandbox, stack.droplet(SLOTS[role])
    seed = sandbox.home / "machines" / str(old["id"]) / "seed" / "user-data"
    order = {"name": f"{SLOTS[role]}-boot", "image": old["image"]["id"], "vpc_uuid": old["vpc_uuid"]}
    with droplet(sandbox, **order, user_data=seed.read_text()) as made:
        with watched(field, Target(role, made)) as first:
            asyncio.run(booted(sandbox, made["id"]))
        with watched(field, Target(role, made)) as second:
            action = {"type": "power_cycle"}
            sandbox.api("POST", f"droplets/{made['id']}/actions", action)
            asyncio.run(restarted(sandbox, made["id"]))
    for heard in (first, second):
        for place in field.places:
            allowed = field.expected(place, role, Layer.MACHINE)
            assert heard[place.name].passed <= allowed, place.name
        assert heard["admin"].opened == {22}, "the SYNs did come there"


def test_the_boot_probe_hears_an_open_machine(stack: LiveStack, field: Field) -> None:
    """The control: a plain Debian has no filter, and anyone may reach its SSH as soon as it listens."""
    with (
        droplet(stack.sandbox, name="open", image="debian-13-x64") as made,
        watched(field, Target(Role.WEB, made)) as heard,
    ):
        asyncio.run(booted(stack.sandbox, made["id"]))
    assert 22 in heard["internet"].opened
    assert 443 in heard["internet"].refused


async def restarted(sandbox: LiveSandbox, number: int) -> None:
    """Until the action is done and the machine has booted again."""

    async def done() -> bool:
        actions = sandbox.api("GET", f"droplets/{number}/actions")["actions"]
        return all(action["status"] == "completed" for action in actions)

    await until(done, _BOOT_SECONDS)
    await booted(sandbox, number)


@contextmanager
def watched(field: Field, target: Target) -> Iterator[dict[str, Heard]]:
    """SYNs from everywhere outside the stack every 5 ms until the block ends; what was heard by then, by place."""
    ports = (22, 80, 111, 443, 3306, 5355, 8000, 8099)
    places = [place for place in field.places if place.member is None]
    heard = {place.name: Heard(frozenset(), frozenset()) for place in field.places}
    stop = threading.Event()

    def watch(place: Place) -> None:
        with probing(place.vantage, place.source, target.address(place.side), ports) as ask:
            while not stop.wait(_SYN_EVERY_SECONDS):
                heard[place.name] = ask()

    threads = [threading.Thread(target=watch, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        stop.set()
        for thread in threads:
            thread.join()
