"""Which ports let packets in, seen by the packets themselves: thousands of ports in a second, over raw sockets.

A TCP port is asked by a SYN: SYN-ACK means open, RST that the packet came through but nobody listens; either way no
filter stopped it. Both by IPv4 and by IPv6, as the addresses say. A UDP port need not answer, so a raw socket in the target's namespace tells which datagrams passed:
raw sockets there are behind the packet filter's input hook (https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks).
"""

from __future__ import annotations

import itertools
import random
import select
import socket
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.network.vantage import Vantage

_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; the socket module does not name it
_BUFFER_BYTES = 32 << 20
_SYN, _RST, _ACK = 0x02, 0x04, 0x10  # RFC 9293 section 3.1
# An answer crosses three namespaces of one host in well under a millisecond.
_QUIET_SECONDS = 0.25
_SEGMENT_BYTES = 20
_MARK = b"flotilla port scan"
# One per scan and beyond what kernels give out by themselves: no answer is mistaken for another scan's, and no
# connection tracking of an earlier one lets a packet through.
_own_ports = itertools.count(61001)

WELL_KNOWN = range(1, 1024)
# What such machines often have, or had while they were baked.
USUAL = (
    *(1080, 1433, 1521, 2049, 2375, 2376, 2379, 3000, 3128, 3142, 3306, 3389, 4369, 5000, 5355, 5432, 5601),
    *(5672, 5900, 5984, 6379, 6443, 8000, 8008, 8080, 8081, 8099, 8443, 8888, 9000, 9090, 9100, 9200, 9418),
    *(10250, 11211, 15672, 25565, 27017, 33060, 50000, 61616),
)


def sample(seed: str, count: int = 300) -> tuple[int, ...]:
    """All well-known and usual ports and `count` of the others, the same ones for a seed."""
    rest = random.Random(seed).sample(range(1024, 65536), count)  # noqa: S311 - a repeatable choice, no secret
    return tuple(sorted({*WELL_KNOWN, *USUAL, *rest}))


@dataclass(frozen=True, slots=True)
class Heard:
    """What a TCP scan heard; every other port was silent."""

    opened: frozenset[int]
    refused: frozenset[int]

    @property
    def passed(self) -> frozenset[int]:
        """Ports to which packets came through, whether or not anything listened."""
        return self.opened | self.refused


def scan_tcp(vantage: Vantage, source: str, target: str, ports: Collection[int]) -> Heard:
    """One SYN to each port of `target` from an address of the vantage point."""
    own = next(_own_ports)
    raw = vantage.inside(lambda: _raw(socket.IPPROTO_TCP, source, target))
    answers: dict[int, set[int]] = {_SYN | _ACK: set(), _RST: set()}
    with raw:

        def hear() -> None:
            for packet in _packets(raw):
                port, destination, flags = _tcp_header(packet, raw.family)
                if destination == own:
                    answers[_RST if flags & _RST else _SYN | _ACK].add(port)

        syn = _Syn.between(source, target, own)
        for number, port in enumerate(ports):
            raw.send(syn.to(port))
            if number % 64 == 0:
                hear()
        _until_quiet(raw, hear)
    return Heard(frozenset(answers[_SYN | _ACK]), frozenset(answers[_RST]))


@contextmanager
def probing(
    vantage: Vantage, source: str, target: str, ports: Collection[int]
) -> Iterator[Callable[[], Heard]]:
    """SYNs to the same ports again and again: each call of what it yields sends a round and tells all heard so far."""
    own = next(_own_ports)
    opened: set[int] = set()
    refused: set[int] = set()
    segments = [_Syn.between(source, target, own).to(port) for port in ports]
    with vantage.inside(lambda: _raw(socket.IPPROTO_TCP, source, target)) as raw:

        def round_() -> Heard:
            for segment in segments:
                raw.send(segment)
            for packet in _packets(raw):
                port, destination, flags = _tcp_header(packet, raw.family)
                if destination == own:
                    (refused if flags & _RST else opened).add(port)
            return Heard(frozenset(opened), frozenset(refused))

        yield round_


def scan_udp(
    vantage: Vantage, source: str, target: str, namespace: str, ports: Collection[int]
) -> frozenset[int]:
    """The ports of `target`, a machine in `namespace`, at which a datagram from the vantage point came in."""
    own = next(_own_ports)
    arrived: set[int] = set()
    ear = Vantage(namespace).inside(lambda: _raw(socket.IPPROTO_UDP, target, None))
    mouth = vantage.inside(lambda: socket.socket(ear.family, socket.SOCK_DGRAM))
    with ear, mouth:
        mouth.bind((source, own))

        def hear() -> None:
            for packet in _packets(ear):
                header = _ip_header(packet, ear.family)
                if packet[header + 8 :] == _MARK:
                    arrived.add(int(struct.unpack_from("!H", packet, header + 2)[0]))

        for number, port in enumerate(ports):
            mouth.sendto(_MARK, (target, port))
            if number % 64 == 0:
                hear()
        _until_quiet(ear, hear)
    return frozenset(arrived)


def _raw(protocol: int, source: str, peer: str | None) -> socket.socket:
    raw = socket.socket(_family(source), socket.SOCK_RAW, protocol)
    raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    raw.bind((source, 0))
    if peer is not None:
        raw.connect((peer, 0))
    raw.setblocking(False)
    return raw


def _packets(raw: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield raw.recv(65535)
        except BlockingIOError:
            return


def _until_quiet(raw: socket.socket, hear: Callable[[], None]) -> None:
    while select.select([raw], [], [], _QUIET_SECONDS)[0]:
        hear()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _ip_header(packet: bytes, family: int) -> int:
    """How many bytes of IP header a raw socket hands over: those of IPv6 give none (RFC 3542 section 3)."""
    return 0 if family == socket.AF_INET6 else (packet[0] & 15) * 4


def _tcp_header(packet: bytes, family: int) -> tuple[int, int, int]:
    """Source port, destination port and flags of a TCP segment."""
    header = _ip_header(packet, family)
    source, destination = struct.unpack_from("!HH", packet, header)
    return source, destination, packet[header + 13]


@dataclass(frozen=True, slots=True)
class _Syn:
    """TCP segments that ask for a connection: RFC 9293 section 3.1, over IPv6 RFC 8200 section 8.1."""

    own: int
    sum: int  # of all but the destination port, which alone differs

    @classmethod
    def between(cls, source: str, target: str, own: int) -> _Syn:
        family = _family(source)
        addresses = socket.inet_pton(family, source) + socket.inet_pton(family, target)
        pseudo = addresses + struct.pack("!LL", _SEGMENT_BYTES, socket.IPPROTO_TCP)
        return cls(own, _sum(pseudo + _segment(own, 0, 0)))

    def to(self, port: int) -> bytes:
        total = self.sum + port
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return _segment(self.own, port, ~total & 0xFFFF)


def _segment(own: int, port: int, checksum: int) -> bytes:
    return struct.pack("!HHLLBBHHH", own, port, 0, 0, 5 << 4, _SYN, 64240, checksum, 0)


def _sum(data: bytes) -> int:
    """Of 16-bit words, as the internet checksum wants it: RFC 1071."""
    return sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))
