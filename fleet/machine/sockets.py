"""TCP sockets of this machine, from the kernel's own tables."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.machine.host import Host

# States of include/net/tcp_states.h. A connection in any of these may still carry or await bytes of a visitor.
LISTEN = 0x0A
OPEN_STATES = frozenset(
    {0x01, 0x03, 0x04, 0x05, 0x08, 0x09}
)  # established, syn-recv, fin-wait 1 and 2, close-wait, last-ack
ESTABLISHED = 0x01


@dataclass(frozen=True, slots=True)
class Socket:
    """One line of /proc/net/tcp: the local port and the state."""

    port: int
    state: int
    loopback: bool


def parse(table: str) -> list[Socket]:
    """Sockets of a /proc/net/tcp or tcp6 text."""
    sockets = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4:
            continue
        address, _, port = fields[1].rpartition(":")
        remote = fields[2].rpartition(":")[0]
        sockets.append(
            Socket(
                port=int(port, 16),
                state=int(fields[3], 16),
                loopback=_loopback(address) and _loopback(remote),
            )
        )
    return sockets


def _loopback(address: str) -> bool:
    # Words of 32 bits in host order (little endian): 127.0.0.1, ::1 and ::ffff:127.0.0.1.
    if len(address) == 8:
        return address.endswith("7F")
    return address == "0" * 24 + "01000000" or (address[16:24] == "FFFF0000" and address.endswith("7F"))


def tcp_sockets(host: Host) -> list[Socket]:
    return [socket for name in ("tcp", "tcp6") for socket in parse(host.read(f"/proc/net/{name}") or "")]


def listening(host: Host) -> frozenset[int]:
    """Ports on which something listens."""
    return frozenset(socket.port for socket in tcp_sockets(host) if socket.state == LISTEN)


def connections(host: Host, port: int) -> int:
    """How many connections to a port of this machine from other machines are not closed yet."""
    return sum(
        1
        for socket in tcp_sockets(host)
        if socket.port == port and socket.state in OPEN_STATES and not socket.loopback
    )
