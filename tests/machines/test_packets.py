"""The firewall table against packets: who reaches which port of which machine, through each layer alone and both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network

import pytest

from components.model import HTTPS_PORT, SSH_PORT, Party, Role
from sandbox.network.vantage import Vantage
from tests.live_stack import LiveStack
from tests.machine_lab import until
from tests.packet_field import (
    EVERY_PORT,
    PORTS,
    SLOTS,
    Field,
    Layer,
    Place,
    Side,
    Target,
    empty_droplet,
    only,
    survey,
)
from tests.port_scan import Heard, sample, scan_tcp, scan_udp

pytestmark = [pytest.mark.machines, pytest.mark.timeout(300)]

SAMPLE = sample("flotilla")
# What a machine may have listening at all, on any address but its loopback.
LISTENING = {
    Role.WEB: {22, 443, 8101, 8102},
    Role.DATABASE: {22, 3306},
}


@pytest.fixture(scope="module")
def field(stack: LiveStack) -> Iterator[Field]:
    """Seen from outside, from the stack's own machines, from one more web member, and from two strangers: a droplet in
    the stack's private network without its tags, and one of another stack in a network of its own."""
    web = stack.droplet("web-1")
    with ExitStack() as droplets:

        def beside(name: str, **order: object) -> dict[str, object]:
            return dict(droplets.enter_context(empty_droplet(stack.sandbox, name=name, **order)))

        peer = beside("web-9", vpc_uuid=web["vpc_uuid"], tags=web["tags"])
        neighbour = beside("neighbour", vpc_uuid=web["vpc_uuid"])
        stranger = beside("stranger", tags=["elsewhere", "elsewhere-web"])
        droplets.callback(forget_tags, stack, "elsewhere", "elsewhere-web")
        others = {"peer": (peer, Role.WEB), "neighbour": (neighbour, None), "stranger": (stranger, None)}
        yield survey(stack, others)


def forget_tags(stack: LiveStack, *names: str) -> None:
    for name in names:
        stack.sandbox.api("DELETE", f"tags/{name}")


@pytest.mark.parametrize(
    "layer", [Layer.BOTH, Layer.CLOUD, Layer.MACHINE, Layer.NONE], ids=lambda layer: layer.name
)
def test_packets_pass_where_the_table_says_and_nowhere_else(field: Field, layer: Layer) -> None:
    """With no layer at all every port must be heard: the proof that the other scans would have heard them."""

    def scan(pair: tuple[Place, Target]) -> list[str]:
        place, target = pair
        ports = EVERY_PORT if whole(place, layer) else SAMPLE
        return list(differences(field, layer, place, target, ports))

    with only(layer, field), ThreadPoolExecutor(2) as pool:
        wrong = [line for lines in pool.map(scan, field.pairs()) for line in lines]
    assert wrong == []


def whole(place: Place, layer: Layer) -> bool:
    """Every port is tried through both layers from all who are none of the stack's; else well-known and usual ones and
    a selection, for which the same rules speak."""
    return layer is Layer.BOTH and place.member is None


def differences(
    field: Field, layer: Layer, place: Place, target: Target, ports: range | tuple[int, ...]
) -> Iterator[str]:
    """What is not as the table has it, for who reads the report."""
    address = target.address(place.side)
    wanted = field.expected(place, target.role, layer) & frozenset(ports)
    tcp = scan_tcp(place.vantage, place.source, address, ports)
    where = f"{place.label} -> {SLOTS[target.role]} {address}"
    if wrong := tcp.passed ^ wanted:
        yield f"{where}: TCP {shown(wrong)}, wanted {shown(wanted)}"
    if not tcp.opened <= LISTENING[target.role]:
        yield f"{where}: {shown(tcp.opened - LISTENING[target.role])} listen"
    # With one layer away packets come to ports of networks on which nothing listens.
    if layer is Layer.BOTH and tcp.opened != wanted:
        yield f"{where}: nobody listens on {shown(wanted - tcp.opened)}"
    inside = field.sandbox.plan.droplet(target.droplet["id"])
    udp = scan_udp(place.vantage, place.source, address, inside, SAMPLE)
    wanted_udp = frozenset(SAMPLE) if layer is Layer.NONE and place.wired else frozenset()
    if udp != wanted_udp:
        yield f"{where}: UDP {shown(udp ^ wanted_udp)}"


def shown(ports: frozenset[int]) -> str:
    """All of a few ports, some of many."""
    return ", ".join(str(port) for port in sorted(ports)[:12]) + (" ..." if len(ports) > 12 else "")


def test_the_table_is_tried_in_full(field: Field) -> None:
    """Every service of roles that this stack has is open to somebody, so that no row of the table goes untried."""
    open_ports = {
        (target.role, port)
        for place, target in field.pairs()
        for port in field.expected(place, target.role, Layer.BOTH)
    }
    assert {port for _, port in open_ports} == set(PORTS.values())
    assert {(Role.WEB, SSH_PORT), (Role.DATABASE, SSH_PORT)} <= open_ports


def test_every_range_of_the_edge_reaches_the_members(field: Field) -> None:
    [web] = [target for target in field.targets if target.role is Role.WEB]
    edge = Vantage(field.sandbox.plan.edge)
    networks = [ip_network(entry) for entry in field.ranges[Party.EDGE]]
    sources = [str(address) for network in networks for address in (network[0], network[-1])]

    def heard(source: str) -> Heard:
        side = Side.PUBLIC6 if ":" in source else Side.PUBLIC
        return scan_tcp(edge, source, web.address(side), (SSH_PORT, 80, HTTPS_PORT))

    with ThreadPoolExecutor(4) as pool:
        passed = [one.passed for one in pool.map(heard, sources)]
    assert dict(zip(sources, passed, strict=True)) == {source: {HTTPS_PORT} for source in sources}


def test_visitors_are_served_by_a_member_over_ipv6(stack: LiveStack, field: Field) -> None:
    """The member's name has a record of each family, and the edge asks it at either address."""
    [web] = [target for target in field.targets if target.role is Role.WEB]
    with counted(field, web) as seen:
        asyncio.run(until(lambda: visited_over_ipv6(stack, seen)))


async def visited_over_ipv6(stack: LiveStack, seen: Callable[[], Awaitable[int]]) -> bool:
    """Each visit is served, whichever way the edge takes."""
    assert stack.visit().member == "web-1"
    return await seen() > 0


@contextmanager
def counted(field: Field, target: Target) -> Iterator[Callable[[], Awaitable[int]]]:
    """Tells how many packets for the site came to a machine over IPv6 since this began."""
    inside, number = field.sandbox.inside, target.droplet["id"]
    asyncio.run(
        inside.run(number, "nft insert rule inet flotilla input ip6 saddr @edge6 tcp dport 443 counter")
    )

    async def seen() -> int:
        listed = await inside.run(number, "nft list chain inet flotilla input")
        return int(listed.partition("counter packets ")[2].split()[0])

    try:
        yield seen
    finally:
        asyncio.run(inside.run(number, "systemctl reload nftables"))
