"""Which namespaces and cables to add or remove: what is wanted against what is there, as `ip` commands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.machines.port import Interface
from sandbox.network.plan import (
    CABLES,
    EDGE_HOP,
    EDGE_PORT,
    FAR6,
    HOST_PORT,
    INTERNET_HOP,
    INTERNET_PORT,
    ROUTER6,
    Plan,
    public_port,
    vpc_port,
)
from sandbox.network.port import Attachment


@dataclass(frozen=True, slots=True)
class Ends6:
    """The IPv6 addresses of a cable: the router's, which the far end sends to, and the one at the far end."""

    router: str
    far: str


@dataclass(frozen=True, slots=True)
class Cable:
    """A veth pair from the router to one interface, and the one address of each family that lives at its far end."""

    port: str  # the router's end
    namespace: str | None  # None: the host
    interface: str  # the far end
    mac: str
    address: str
    ipv6: Ends6 | None = None

    @property
    def laid6(self) -> Neighbour | None:
        """The same of its IPv6, which may come to a cable that is in use."""
        return Neighbour(self.port, self.ipv6.far, self.mac) if self.ipv6 else None

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
    """`ip -batch` lines in the order to run them: in the router, on the host, and in the router again.

    `namespaces` are new: made before any cable leads there.
    """

    cut: tuple[str, ...]
    unmake: tuple[str, ...]
    namespaces: tuple[str, ...]
    make: tuple[str, ...]
    connect: tuple[str, ...]


def fabric(plan: Plan) -> list[Cable]:
    """The cables that every sandbox has."""
    mac = f"02:f1:{plan.instance:02x}:00:00"
    return [
        Cable(HOST_PORT, None, plan.host_link, f"{mac}:01", str(plan.desk), Ends6(ROUTER6, str(plan.desk6))),
        Cable(EDGE_PORT, plan.edge, "eth0", f"{mac}:02", EDGE_HOP, Ends6(ROUTER6, FAR6)),
        Cable(INTERNET_PORT, plan.internet, "eth0", f"{mac}:03", INTERNET_HOP, Ends6(ROUTER6, FAR6)),
    ]


def droplet_cables(plan: Plan, attachment: Attachment) -> list[Cable]:
    """A droplet's public and VPC cable."""
    namespace = plan.droplet(attachment.droplet)
    ends = ((public_port(attachment), attachment.public), (vpc_port(attachment), attachment.private))
    return [Cable(port, namespace, end.name, end.mac, end.address, _ends6(end)) for port, end in ends]


def _ends6(interface: Interface) -> Ends6 | None:
    return Ends6(interface.ipv6.gateway, interface.ipv6.address) if interface.ipv6 else None


def difference(plan: Plan, wanted: Iterable[Cable], observed: Observed) -> Change:
    """What to do so that exactly the wanted cables exist; cables that are right are not touched."""
    cables = {cable.port: cable for cable in wanted}
    right = {port for port, cable in cables.items() if _is_right(cable, observed)}
    missing = [cable for port, cable in cables.items() if port not in right]
    needed = {cable.namespace for cable in cables.values() if cable.namespace}
    strays = [name for name in sorted(observed.namespaces - needed) if name.startswith(plan.droplet_prefix)]
    done6 = {None, *observed.neighbours}
    late = [cables[port] for port in sorted(right) if cables[port].laid6 not in done6]
    return Change(
        cut=tuple(f"link del {port}" for port in sorted(observed.ports - right)),
        unmake=tuple(f"netns del {name}" for name in strays),
        namespaces=tuple(sorted(needed - observed.namespaces)),
        make=tuple(_link(plan, cable) for cable in missing),
        connect=(
            *(line for cable in missing for line in _connect(cable)),
            *(line for cable in (*missing, *late) for line in _connect6(cable)),
        ),
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


def _connect6(cable: Cable) -> list[str]:
    if cable.ipv6 is None:
        return []
    return [
        f"addr replace {cable.ipv6.router}/128 dev {cable.port} nodad",
        f"route replace {cable.ipv6.far}/128 dev {cable.port}",
        f"neigh replace {cable.ipv6.far} lladdr {cable.mac} dev {cable.port} nud permanent",
    ]
