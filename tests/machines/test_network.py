"""The cloud's network by real packets: droplets here are bare namespaces, without a machine in them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.machines.port import Ipv6
from sandbox.network.instances import Instances
from sandbox.network.namespaces import NetworkError, bind_in_namespace, namespaces, sweep
from sandbox.network.network import NamespaceNetwork, configure_as_machine
from sandbox.network.plan import DESK, DESK6, METADATA, VISITOR, VISITOR6, public_slice
from sandbox.network.port import Allow, Attachment, Topology
from sandbox.network.vantage import Answer, Vantage
from tests.topologies import ANYWHERE, droplet, tcp, topology

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

HOST = Vantage()
PORT = 8080


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[NamespaceNetwork]:
    instances = Instances()
    instance = instances.claim(tmp_path)
    sweep(instance)
    try:
        yield NamespaceNetwork(instance, public_slice(instance))
    finally:
        sweep(instance)
        instances.release(tmp_path)


class Cloud:
    """A network with droplets on it that have their addresses, as after boot."""

    def __init__(self, network: NamespaceNetwork) -> None:
        self.network = network
        self.edge = Vantage(network.plan.edge)
        self.internet = Vantage(network.plan.internet)

    async def apply(self, *attachments: Attachment) -> None:
        wanted = topology(*attachments)
        await self.network.apply(wanted)
        for attachment in attachments:
            await configure_as_machine(self.network.plan, attachment)

    def droplet(self, number: int, **options: object) -> Attachment:
        plan = self.network.plan
        return droplet(plan.public, number, public6=plan.public6, **options)  # type: ignore[arg-type]

    def inside(self, attachment: Attachment) -> Vantage:
        return Vantage(self.network.plan.droplet(attachment.droplet))

    @contextmanager
    def serving6(self, attachment: Attachment, port: int = PORT) -> Iterator[socket.socket]:
        namespace = self.network.plan.droplet(attachment.droplet)
        bound = bind_in_namespace(namespace, socket.AF_INET6, socket.SOCK_STREAM, ipv6(attachment), port)
        with closing(bound) as server:
            server.settimeout(5)
            yield server

    @contextmanager
    def serving(self, attachment: Attachment, port: int = PORT) -> Iterator[socket.socket]:
        namespace = self.network.plan.droplet(attachment.droplet)
        with closing(bind_in_namespace(namespace, socket.AF_INET, socket.SOCK_STREAM, "", port)) as server:
            server.settimeout(5)
            yield server


@pytest.fixture
def cloud(network: NamespaceNetwork) -> Cloud:
    return Cloud(network)


async def test_without_firewall_everyone_reaches_a_droplet(cloud: Cloud) -> None:
    web, other = cloud.droplet(1), cloud.droplet(2)
    await cloud.apply(web, other)
    address = web.public.address
    with cloud.serving(web):
        assert HOST.probe(address, PORT) is Answer.OPEN
        assert cloud.internet.probe(address, PORT) is Answer.OPEN
        assert cloud.edge.probe(address, PORT) is Answer.OPEN
        assert cloud.inside(other).probe(address, PORT) is Answer.OPEN
        assert cloud.inside(other).probe(web.private.address, PORT) is Answer.OPEN


async def test_host_speaks_as_the_desk_and_droplets_as_themselves(cloud: Cloud) -> None:
    web, other = cloud.droplet(1), cloud.droplet(2)
    await cloud.apply(web, other)
    with cloud.serving(web) as server:
        for place, target, expected in (
            (HOST, web.public.address, DESK),
            (cloud.internet, web.public.address, VISITOR),
            (cloud.inside(other), web.public.address, other.public.address),
            (cloud.inside(other), web.private.address, other.private.address),
        ):
            with place.connect(target, PORT):
                accepted, peer = server.accept()
                accepted.close()
                assert peer[0] == expected


async def test_edge_speaks_from_any_address_of_its_ranges(cloud: Cloud) -> None:
    web = cloud.droplet(1, inbound=[tcp(PORT, "173.245.48.0/20")])
    await cloud.apply(web)
    with cloud.serving(web):
        for source in ("173.245.48.1", "173.245.55.77", "173.245.63.254"):
            assert cloud.edge.probe(web.public.address, PORT, source=source) is Answer.OPEN
        assert cloud.internet.probe(web.public.address, PORT) is Answer.SILENT
        assert HOST.probe(web.public.address, PORT) is Answer.SILENT


async def test_edge_ranges_follow_the_topology(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    await cloud.apply(web)
    await cloud.network.apply(Topology((web,), ("104.16.0.0/13", "2606:4700::/32")))
    with cloud.serving(web):
        assert cloud.edge.probe(web.public.address, PORT, source="104.16.9.9") is Answer.OPEN
        with pytest.raises(OSError, match="assign"):
            cloud.edge.connect(web.public.address, PORT, source="173.245.48.1")


async def test_firewall_closes_what_no_rule_opens_on_both_interfaces(cloud: Cloud) -> None:
    web = cloud.droplet(1, inbound=[tcp(PORT, f"{DESK}/32"), tcp(PORT + 1, "10.20.0.0/24")])
    other = cloud.droplet(2)
    await cloud.apply(web, other)
    with cloud.serving(web), cloud.serving(web, PORT + 1):
        assert HOST.probe(web.public.address, PORT) is Answer.OPEN
        assert HOST.probe(web.public.address, PORT + 1) is Answer.SILENT
        assert cloud.internet.probe(web.public.address, PORT) is Answer.SILENT
        assert cloud.inside(other).probe(web.private.address, PORT) is Answer.SILENT
        assert cloud.inside(other).probe(web.private.address, PORT + 1) is Answer.OPEN


async def test_outbound_rules_hold_and_answers_pass(cloud: Cloud) -> None:
    web = cloud.droplet(1, inbound=[tcp(PORT, *ANYWHERE)], outbound=[tcp(PORT, "10.20.0.2/32")])
    database, other = cloud.droplet(2), cloud.droplet(3)
    await cloud.apply(web, database, other)
    with cloud.serving(web), cloud.serving(database), cloud.serving(other):
        inside = cloud.inside(web)
        assert inside.probe(database.private.address, PORT) is Answer.OPEN
        assert inside.probe(database.public.address, PORT) is Answer.SILENT
        assert inside.probe(other.private.address, PORT) is Answer.SILENT
        assert HOST.probe(web.public.address, PORT) is Answer.OPEN


async def test_vpcs_are_apart(cloud: Cloud) -> None:
    here, friend, stranger = cloud.droplet(1), cloud.droplet(2), cloud.droplet(3, vpc="vpc-b")
    await cloud.apply(here, friend, stranger)
    with cloud.serving(here):
        assert cloud.inside(friend).probe(here.private.address, PORT) is Answer.OPEN
        assert cloud.inside(stranger).probe(here.private.address, PORT) is Answer.SILENT
        assert cloud.internet.probe(here.private.address, PORT) is Answer.SILENT
        assert HOST.probe(here.public.address, PORT) is Answer.OPEN


async def test_vpc_address_is_not_reachable_over_the_public_interface(cloud: Cloud) -> None:
    here, friend = cloud.droplet(1), cloud.droplet(2)
    await cloud.apply(here, friend)
    gateway = str(cloud.network.plan.gateway)
    inside = cloud.inside(friend)
    route = ["ip", "route", "replace", f"{here.private.address}/32", "via", gateway, "dev", "eth0"]
    assert inside.run(route).returncode == 0
    with cloud.serving(here):
        assert inside.probe(here.private.address, PORT) is Answer.SILENT


async def test_another_ones_address_is_refused(cloud: Cloud) -> None:
    web = cloud.droplet(1, inbound=[tcp(PORT, "10.20.0.2/32", VISITOR)])
    allowed, liar = cloud.droplet(2), cloud.droplet(3)
    await cloud.apply(web, allowed, liar)
    inside = cloud.inside(liar)
    for forged, interface, target in (
        (allowed.private.address, "eth1", web.private.address),
        (VISITOR, "eth0", web.public.address),
    ):
        assert inside.run(["ip", "addr", "add", f"{forged}/32", "dev", interface]).returncode == 0
        with cloud.serving(web) as server:
            assert inside.probe(target, PORT, source=forged) is Answer.SILENT
            assert _nobody_came(server)


async def test_another_card_is_refused(cloud: Cloud) -> None:
    web, liar = cloud.droplet(1), cloud.droplet(2)
    await cloud.apply(web, liar)
    inside = cloud.inside(liar)
    with cloud.serving(web):
        assert inside.probe(web.public.address, PORT) is Answer.OPEN
        assert inside.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:ff:ff"]).returncode == 0
        assert inside.probe(web.public.address, PORT) is Answer.SILENT


async def test_established_connection_survives_closing_the_port(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    await cloud.apply(web)
    with cloud.serving(web) as server, HOST.connect(web.public.address, PORT) as client:
        accepted, _ = server.accept()
        await cloud.network.apply(topology(replace(web, firewalled=True)))
        assert HOST.probe(web.public.address, PORT) is Answer.SILENT
        with accepted:
            client.sendall(b"still here")
            accepted.settimeout(5)
            assert accepted.recv(100) == b"still here"


async def test_isolated_droplet_is_silent_and_comes_back(cloud: Cloud) -> None:
    web, other = cloud.droplet(1), cloud.droplet(2)
    await cloud.apply(web, other)
    with cloud.serving(web) as server, HOST.connect(web.public.address, PORT) as client:
        accepted, _ = server.accept()
        with accepted:
            await cloud.network.apply(topology(replace(web, isolated=True), other))
            assert HOST.probe(web.public.address, PORT) is Answer.SILENT
            assert cloud.inside(other).probe(web.private.address, PORT) is Answer.SILENT
            client.sendall(b"lost at first")
            accepted.settimeout(0.5)
            with pytest.raises(TimeoutError):
                accepted.recv(100)
            await cloud.network.apply(topology(web, other))
            accepted.settimeout(10)
            assert accepted.recv(100) == b"lost at first"
        assert HOST.probe(web.public.address, PORT) is Answer.OPEN


async def test_dead_droplet_is_silent(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    await cloud.apply(web)
    assert HOST.probe(web.public.address, PORT) is Answer.REFUSED
    await cloud.network.renew(web.droplet)
    assert HOST.probe(web.public.address, PORT, seconds=4) is Answer.SILENT
    await configure_as_machine(cloud.network.plan, web)
    assert HOST.probe(web.public.address, PORT) is Answer.REFUSED


async def test_deleted_droplet_is_silent(cloud: Cloud) -> None:
    web, gone = cloud.droplet(1), cloud.droplet(2)
    await cloud.apply(web, gone)
    await cloud.network.apply(topology(web))
    assert HOST.probe(gone.public.address, PORT) is Answer.SILENT
    assert cloud.inside(web).probe("198.51.100.1", PORT) is Answer.UNREACHABLE


async def test_three_hundred_droplets(cloud: Cloud) -> None:
    peers = [str(cloud.network.plan.public[number + 10]) for number in range(1, 301)]
    fleet = [cloud.droplet(number, inbound=[tcp(PORT, *peers)]) for number in range(1, 301)]
    await cloud.network.apply(topology(*fleet))
    first, last = fleet[0], fleet[-1]
    for attachment in (first, last):
        await configure_as_machine(cloud.network.plan, attachment)
    with cloud.serving(last):
        assert HOST.probe(last.public.address, PORT) is Answer.SILENT
    assert len(namespaces(cloud.network.plan.instance)) == 303
    await cloud.network.remove()
    assert namespaces(cloud.network.plan.instance) == frozenset()


async def test_platform_services_pass_every_firewall(cloud: Cloud) -> None:
    web = cloud.droplet(1, inbound=[], outbound=[])
    await cloud.apply(web)
    router = cloud.network.plan.router
    with closing(bind_in_namespace(router, socket.AF_INET, socket.SOCK_STREAM, METADATA, 80)) as server:
        server.settimeout(5)
        with cloud.inside(web).connect(METADATA, 80):
            _, peer = server.accept()
            assert peer[0] == web.public.address
    assert cloud.internet.probe(METADATA, 80) in (Answer.SILENT, Answer.UNREACHABLE)


async def test_no_way_out_to_the_host_network(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    await cloud.apply(web)
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        targets = {str(cloud.network.plan.desk), DESK, "127.0.0.1", *_host_addresses()}
        for place in (cloud.inside(web), cloud.edge, cloud.internet, Vantage(cloud.network.plan.router)):
            for target in targets:
                assert place.probe(target, port, seconds=0.3) is not Answer.OPEN
        assert _nobody_came(server)


async def test_icmp_is_open_only_by_rule(cloud: Cloud) -> None:
    closed = cloud.droplet(1, inbound=[tcp(PORT, *ANYWHERE)])
    opened = cloud.droplet(2, inbound=[Allow("icmp", None, ANYWHERE)])
    await cloud.apply(closed, opened)
    assert not _ping(HOST, closed.public.address)
    assert _ping(HOST, opened.public.address)


async def test_gone_droplet_leaves_nothing_and_the_rest_stays(cloud: Cloud) -> None:
    web, other = cloud.droplet(1), cloud.droplet(2)
    await cloud.apply(web, other)
    with cloud.serving(web) as server, HOST.connect(web.public.address, PORT) as client:
        accepted, _ = server.accept()
        await cloud.network.apply(topology(web))
        assert cloud.network.plan.droplet(2) not in namespaces(cloud.network.plan.instance)
        with accepted:
            client.sendall(b"untouched")
            accepted.settimeout(5)
            assert accepted.recv(100) == b"untouched"


async def test_new_process_takes_over_running_cables(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    await cloud.apply(web)
    with cloud.serving(web) as server, HOST.connect(web.public.address, PORT) as client:
        accepted, _ = server.accept()
        successor = NamespaceNetwork(cloud.network.plan.instance, cloud.network.plan.public)
        await successor.apply(topology(web))
        with accepted:
            client.sendall(b"untouched")
            accepted.settimeout(5)
            assert accepted.recv(100) == b"untouched"


async def test_half_laid_cable_is_laid_again(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    await cloud.apply(web)
    router = Vantage(cloud.network.plan.router)
    assert router.run(["ip", "neigh", "del", web.public.address, "dev", "pub1"]).returncode == 0
    await cloud.apply(web)
    with cloud.serving(web):
        assert HOST.probe(web.public.address, PORT) is Answer.OPEN


async def test_remove_leaves_the_host_as_it_was(cloud: Cloud) -> None:
    before = _host_state()
    await cloud.apply(cloud.droplet(1), cloud.droplet(2))
    assert _host_state() != before
    await cloud.network.remove()
    assert _host_state() == before
    assert namespaces(cloud.network.plan.instance) == frozenset()


async def test_sweep_after_a_crash_takes_a_foreign_namespace_too(cloud: Cloud) -> None:
    await cloud.apply(cloud.droplet(1))
    stray = f"fl{cloud.network.plan.instance}-stray"
    assert HOST.run(["ip", "netns", "add", stray]).returncode == 0
    sweep(cloud.network.plan.instance)
    assert namespaces(cloud.network.plan.instance) == frozenset()


async def test_sweep_after_a_crash_in_the_first_moment(network: NamespaceNetwork) -> None:
    """The router is there, none of its cables yet."""
    assert HOST.run(["ip", "netns", "add", network.plan.router]).returncode == 0
    sweep(network.plan.instance)
    assert namespaces(network.plan.instance) == frozenset()


async def test_foreign_gateway_is_an_error(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    wrong = replace(web, public=replace(web.public, gateway="198.51.100.1"))
    with pytest.raises(NetworkError, match=r"gateway 198\.51\.100\.1"):
        await cloud.network.apply(topology(wrong))


async def test_everyone_speaks_ipv6_as_itself(cloud: Cloud) -> None:
    web, other = cloud.droplet(1), cloud.droplet(2, vpc="vpc-b")
    await cloud.apply(web, other)
    with cloud.serving6(web) as server:
        for place, expected in (
            (HOST, DESK6),
            (cloud.internet, VISITOR6),
            (cloud.edge, "2400:cb00::a"),
            (cloud.inside(other), ipv6(other)),
        ):
            with place.connect(ipv6(web), PORT):
                accepted, peer = server.accept()
                accepted.close()
                assert peer[0] == expected
    with cloud.serving6(other):
        assert cloud.inside(web).probe(ipv6(other), PORT) is Answer.OPEN


async def test_visitors_reach_the_edge_over_ipv6(cloud: Cloud) -> None:
    await cloud.apply()
    edge = cloud.network.plan.edge
    address = "2400:cb00::14"
    with closing(bind_in_namespace(edge, socket.AF_INET6, socket.SOCK_STREAM, address, PORT)):
        assert cloud.internet.probe(address, PORT) is Answer.OPEN


async def test_firewall_judges_ipv6_by_its_own_rules(cloud: Cloud) -> None:
    """Two ranges of the edge, everybody over IPv4 alone, and everybody over IPv6 alone."""
    web = cloud.droplet(
        1, inbound=[tcp(PORT, "2400:cb00::/32"), tcp(PORT + 1, "0.0.0.0/0"), tcp(PORT + 2, "::/0")]
    )
    other = cloud.droplet(2)
    await cloud.apply(web, other)
    with cloud.serving6(web), cloud.serving6(web, PORT + 1), cloud.serving6(web, PORT + 2):
        for source in ("2400:cb00::1", "2400:cb00:ffff::77"):
            assert cloud.edge.probe(ipv6(web), PORT, source=source) is Answer.OPEN
        for place in (HOST, cloud.internet, cloud.inside(other)):
            assert place.probe(ipv6(web), PORT, seconds=0.3) is Answer.SILENT
            assert place.probe(ipv6(web), PORT + 1, seconds=0.3) is Answer.SILENT
            assert place.probe(ipv6(web), PORT + 2) is Answer.OPEN
        assert HOST.probe(web.public.address, PORT + 2) is Answer.SILENT


async def test_firewall_with_outbound_rules_judges_ipv6_too(cloud: Cloud) -> None:
    friend, other = cloud.droplet(2), cloud.droplet(3)
    web = cloud.droplet(1, inbound=[tcp(PORT, *ANYWHERE)], outbound=[tcp(PORT, f"{ipv6(friend)}/128")])
    await cloud.apply(web, friend, other)
    with cloud.serving6(web), cloud.serving6(friend), cloud.serving6(other):
        assert cloud.inside(web).probe(ipv6(friend), PORT) is Answer.OPEN
        assert cloud.inside(web).probe(ipv6(other), PORT) is Answer.SILENT
        assert HOST.probe(ipv6(web), PORT) is Answer.OPEN


async def test_firewall_that_lets_nothing_in_leaves_neighbour_discovery_alone(cloud: Cloud) -> None:
    """Both ways: the droplet finds its router again, and the router's answers come in."""
    web, other = cloud.droplet(1, inbound=[], outbound=[tcp(PORT, *ANYWHERE)]), cloud.droplet(2)
    await cloud.apply(web, other)
    inside = cloud.inside(web)
    with cloud.serving6(other):
        assert inside.probe(ipv6(other), PORT) is Answer.OPEN
        assert inside.run(["ip", "-6", "neigh", "flush", "dev", "eth0"]).returncode == 0
        assert inside.probe(ipv6(other), PORT) is Answer.OPEN


async def test_another_ones_ipv6_address_or_card_is_refused(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    victim, liar = cloud.droplet(2), cloud.droplet(3)
    await cloud.apply(web, victim, liar)
    inside = cloud.inside(liar)
    with cloud.serving6(web) as server:
        for forged, interface in ((ipv6(victim), "eth0"), (VISITOR6, "eth0"), (ipv6(liar), "eth1")):
            assert inside.run(["ip", "addr", "replace", f"{forged}/128", "dev", interface]).returncode == 0
            if interface == "eth1":
                assert liar.private.gateway is None
                route = ["ip", "route", "replace", f"{ipv6(web)}/128", "dev", "eth1"]
                assert inside.run(route).returncode == 0
            assert inside.probe(ipv6(web), PORT, source=forged, seconds=0.3) is not Answer.OPEN
            assert _nobody_came(server)
        assert inside.run(["ip", "route", "del", f"{ipv6(web)}/128", "dev", "eth1"]).returncode == 0
        assert inside.probe(ipv6(web), PORT, source=ipv6(liar)) is Answer.OPEN
        assert inside.run(["ip", "link", "set", "eth0", "address", "02:00:00:00:ff:ff"]).returncode == 0
        assert inside.probe(ipv6(web), PORT, source=ipv6(liar)) is not Answer.OPEN


async def test_ipv6_of_a_cut_off_or_dead_droplet_is_silent(cloud: Cloud) -> None:
    web, gone = cloud.droplet(1), cloud.droplet(2)
    await cloud.apply(web, gone)
    with cloud.serving6(web):
        assert HOST.probe(ipv6(web), PORT) is Answer.OPEN
        await cloud.network.apply(topology(replace(web, isolated=True)))
        assert HOST.probe(ipv6(web), PORT) is Answer.SILENT
        assert HOST.probe(ipv6(gone), PORT) is Answer.SILENT
    await cloud.network.apply(topology(web))
    await cloud.network.renew(web.droplet)
    assert HOST.probe(ipv6(web), PORT, seconds=4) is Answer.SILENT
    await configure_as_machine(cloud.network.plan, web)
    assert HOST.probe(ipv6(web), PORT) is Answer.REFUSED


async def test_ipv6_comes_to_a_droplet_in_use(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    await cloud.apply(replace(web, public=replace(web.public, ipv6=None)))
    with cloud.serving(web) as server, HOST.connect(web.public.address, PORT) as client:
        accepted, _ = server.accept()
        await cloud.apply(web)
        with accepted, cloud.serving6(web, PORT + 1):
            assert HOST.probe(ipv6(web), PORT + 1) is Answer.OPEN
            client.sendall(b"untouched")
            accepted.settimeout(5)
            assert accepted.recv(100) == b"untouched"


async def test_a_new_ipv6_address_can_be_used_at_once(cloud: Cloud) -> None:
    """Set up as by the machine itself, which does not switch off the search for a second owner of its address."""
    web = cloud.droplet(1)
    await cloud.network.apply(topology(web))
    inside = cloud.inside(web)
    assert inside.run(["ip", "link", "set", "eth0", "up"]).returncode == 0
    assert inside.run(["ip", "addr", "add", f"{ipv6(web)}/64", "dev", "eth0"]).returncode == 0
    addresses = inside.run(["ip", "-6", "addr", "show", "dev", "eth0"]).stdout
    assert ipv6(web) in addresses
    assert "tentative" not in addresses


async def test_foreign_ipv6_address_is_an_error(cloud: Cloud) -> None:
    web = cloud.droplet(1)
    foreign = Ipv6("2001:db8:7::2", 64, "2001:db8:7::1")
    wrong = replace(web, public=replace(web.public, ipv6=foreign))
    with pytest.raises(NetworkError, match=r"2001:db8:7::2, which is none"):
        await cloud.network.apply(topology(wrong))


def ipv6(attachment: Attachment) -> str:
    assert attachment.public.ipv6 is not None
    return attachment.public.ipv6.address


def _nobody_came(server: socket.socket) -> bool:
    server.settimeout(0.1)
    try:
        server.accept()
    except TimeoutError:
        return True
    return False


def _ping(place: Vantage, address: str) -> bool:
    """One ICMP echo, without the ping program: type 8, the checksum of a header with identifier and sequence 1."""
    packet = b"\x08\x00\xf7\xfd\x00\x01\x00\x01"
    with closing(
        place.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    ) as raw:
        raw.settimeout(1)
        raw.sendto(packet, (address, 0))
        try:
            while True:
                answer, peer = raw.recvfrom(1024)
                if peer[0] == address and answer[20] == 0:
                    return True
        except TimeoutError:
            return False


def _host_addresses() -> set[str]:
    done = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True)
    return {address for address in done.stdout.split() if ":" not in address}


def _host_state() -> str:
    """Links, routes, filters and forwarding of the host."""
    commands = (["ip", "-br", "link"], ["ip", "route"], ["ip", "-6", "route"], ["nft", "list", "ruleset"])
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands
    ]
    outputs.append(Path("/proc/sys/net/ipv4/ip_forward").read_text())
    mounts = Path("/proc/mounts").read_text().splitlines()
    outputs += [line for line in mounts if "/netns/fl" in line]
    return "\n".join(outputs)
