"""Which namespaces and cables to add or remove: what is wanted against what is there, as `ip` commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.network.plan import (
    CABLES,
    EDGE_HOP,
    EDGE_PORT,
    HOST_PORT,
    INTERNET_HOP,
    INTERNET_PORT,
    Plan,
    public_port,
    vpc_port,
)
from sandbox.network.port import Attachment


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair from the router to one interface, and the one address that lives at its far end."""

    port: str  # the router's end
    namespace: str | None  # None: the host
    interface: str  # the far end
    mac: str
    address: str

    @property
    def laid(self) -> Neighbour:
        """The last thing made of a cable; where it is missing the cable was not finished."""
        return Neighbour(self.port, self.address, self.mac)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry of the router.

    Fixed entries keep a droplet to its card, and let packets to a dead droplet vanish as in the real cloud:
    with ARP the kernel would answer "host unreachable" after three seconds.
    """

    port: str
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What exists now."""

    namespaces: frozenset[str]
    ports: frozenset[str]
    neighbours: frozenset[Neighbour]


@dataclass(frozen=True, slots=True)
class Change:
    """`ip -batch` lines in the order to run them: in the router, on the host, and in the router again."""

    cut: tuple[str, ...]
    make: tuple[str, ...]
    connect: tuple[str, ...]


def fabric(plan: Plan) -> list[Cable]:
    """The cables that every sandbox has."""
    mac = f"02:f1:{plan.instance:02x}:00:00"
    return [
        Cable(HOST_PORT, None, plan.host_link, f"{mac}:01", str(plan.desk)),
        Cable(EDGE_PORT, plan.edge, "eth0", f"{mac}:02", EDGE_HOP),
        Cable(INTERNET_PORT, plan.internet, "eth0", f"{mac}:03", INTERNET_HOP),
    ]


def droplet_cables(plan: Plan, attachment: Attachment) -> list[Cable]:
    """A droplet's public and VPC cable."""
    namespace = plan.droplet(attachment.droplet)
    ends = ((public_port(attachment), attachment.public), (vpc_port(attachment), attachment.private))
    return [Cable(port, namespace, end.name, end.mac, end.address) for port, end in ends]


def difference(plan: Plan, wanted: Iterable[Cable], observed: Observed) -> Change:
    """What to do so that exactly the wanted cables exist; cables that are right are not touched."""
    cables = {cable.port: cable for cable in wanted}
    right = {port for port, cable in cables.items() if _is_right(cable, observed)}
    missing = [cable for port, cable in cables.items() if port not in right]
    needed = {cable.namespace for cable in cables.values() if cable.namespace}
    strays = [name for name in sorted(observed.namespaces - needed) if name.startswith(plan.droplet_prefix)]
    make = [f"netns del {name}" for name in strays]
    make += [f"netns add {name}" for name in sorted(needed - observed.namespaces)]
    make += [_link(plan, cable) for cable in missing]
    return Change(
        cut=tuple(f"link del {port}" for port in sorted(observed.ports - right)),
        make=tuple(make),
        connect=tuple(line for cable in missing for line in _connect(cable)),
    )


def _is_right(cable: Cable, observed: Observed) -> bool:
    there = cable.namespace is None or cable.namespace in observed.namespaces
    return there and cable.port in observed.ports and cable.laid in observed.neighbours


def _link(plan: Plan, cable: Cable) -> str:
    far = f" netns {cable.namespace}" if cable.namespace else ""
    return (
        f"link add {cable.port} netns {plan.router} type veth"
        f" peer name {cable.interface} address {cable.mac}{far}"
    )


def _connect(cable: Cable) -> list[str]:
    return [
        f"link set {cable.port} group {CABLES} addrgenmode none",
        # Proxy answers wait up to 0.8 s by default.
        f"ntable change name arp_cache dev {cable.port} proxy_delay 0",
        f"link set {cable.port} up",
        f"route replace {cable.address}/32 dev {cable.port}",
        f"neigh replace {cable.address} lladdr {cable.mac} dev {cable.port} nud permanent",
    ]
