"""An authoritative name server for the cloud's own zones, over UDP and TCP; anything else it refuses.

What to answer is decided by pure functions of an immutable snapshot of the zones (`sandbox.dns_zones` reads it
from the store); the server below only moves packets.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

_LOG = logging.getLogger(__name__)
# https://www.dnsflagday.net/2020/: larger UDP answers are fragmented on the way.
_UDP_BYTES = 1232
_UDP_BYTES_WITHOUT_EDNS = 512
_LONGEST_CHAIN = 8
_TCP_IDLE_SECONDS = 10.0
_HEADER_BYTES = 12
_NEGATIVE_SECONDS = 1800
_NS_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record: full name without final dot, type, TTL in seconds, data in the zone-file format (RFC 1035, 5.1)."""

    name: str
    type: str
    ttl: int
    data: str


@dataclass(frozen=True)
class DnsZone:
    """A zone with its name servers; SOA and NS at its top are made, not listed."""

    name: str
    name_servers: tuple[str, ...]
    records: tuple[DnsRecord, ...]

    @cached_property
    def serial(self) -> int:
        """Changes when the zone does."""
        return zlib.crc32(repr((self.name, self.name_servers, self.records)).encode())


_Types = dict[dns.rdatatype.RdataType, dns.rrset.RRset]


class _Contents:
    """A zone laid out for look-ups."""

    def __init__(self, zone: DnsZone) -> None:
        self.origin = dns.name.from_text(zone.name)
        first, *_ = zone.name_servers
        soa = f"{first}. hostmaster.{zone.name}. {zone.serial} 10000 2400 604800 {_NEGATIVE_SECONDS}"
        servers = [DnsRecord(zone.name, "NS", _NS_SECONDS, f"{server}.") for server in zone.name_servers]
        self._names: dict[dns.name.Name, _Types] = defaultdict(dict)
        for record in (DnsRecord(zone.name, "SOA", _NEGATIVE_SECONDS, soa), *servers, *zone.records):
            try:
                self._add(record)
            except (dns.exception.DNSException, ValueError) as error:
                # One record that no zone file could hold must not silence the zone.
                _LOG.error("zone %s: %s is left out: %s", zone.name, record, error)
        # Names between a record and the top exist, though nothing is there (RFC 8020).
        self._between = {
            name.split(depth)[1] for name in list(self._names) for depth in range(len(self.origin), len(name))
        }

    def _add(self, record: DnsRecord) -> None:
        name = dns.name.from_text(record.name)
        kind = dns.rdatatype.from_text(record.type)
        rdata = dns.rdata.from_text(dns.rdataclass.IN, kind, record.data)
        types = self._names[name]
        if kind not in types:
            types[kind] = dns.rrset.RRset(name, dns.rdataclass.IN, kind)
        # The RRset takes the smallest TTL of its records.
        types[kind].add(rdata, record.ttl)

    @property
    def soa(self) -> dns.rrset.RRset:
        return self._names[self.origin][dns.rdatatype.SOA]

    def exists(self, name: dns.name.Name) -> bool:
        return name in self._names or name in self._between

    def delegation(self, name: dns.name.Name) -> dns.rrset.RRset | None:
        """The NS records of a zone cut at or above the name, if it was given away."""
        for depth in range(len(self.origin) + 1, len(name) + 1):
            found = self._names.get(name.split(depth)[1], {}).get(dns.rdatatype.NS)
            if found is not None:
                return found
        return None

    def at(self, name: dns.name.Name) -> _Types | None:
        """What stands at a name, wildcards (RFC 4592) applied; None: there is no such name."""
        if name in self._names:
            return self._names[name]
        if name in self._between:
            return {}
        encloser = name
        while not self.exists(encloser):
            encloser = encloser.parent()
        wildcard = self._names.get(dns.name.Name((b"*", *encloser.labels)))
        if wildcard is None:
            return None
        return {kind: _renamed(rrset, name) for kind, rrset in wildcard.items()}


def _renamed(rrset: dns.rrset.RRset, name: dns.name.Name) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(name, rrset.ttl, list(rrset))


class Snapshot:
    """All zones at one moment, and what they answer."""

    def __init__(self, zones: Iterable[DnsZone] = ()) -> None:
        self._zones: Mapping[dns.name.Name, _Contents] = {
            contents.origin: contents for contents in map(_Contents, zones)
        }

    def answer(self, query: dns.message.Message, turn: int = 0) -> dns.message.Message:
        """The answer to a query; `turn` rotates the order of equal records from one answer to the next."""
        response = dns.message.make_response(query, our_payload=_UDP_BYTES)
        refusal = _refusal(query)
        if refusal is not None:
            response.set_rcode(refusal)
            return response
        question = query.question[0]
        zone = self._zone(question.name)
        if zone is None:
            response.set_rcode(dns.rcode.REFUSED)
            return response
        response.flags |= dns.flags.AA
        self._resolve(response, zone, question.name, question.rdtype, turn)
        return response

    def _resolve(
        self,
        response: dns.message.Message,
        zone: _Contents,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
        turn: int,
    ) -> None:
        for _ in range(_LONGEST_CHAIN):
            delegation = zone.delegation(name)
            if delegation is not None:
                if not response.answer:
                    response.flags &= ~dns.flags.AA
                response.authority.append(delegation)
                return
            types = zone.at(name)
            if types is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                response.authority.append(zone.soa)
                return
            if kind in types:
                response.answer.append(_rotated(types[kind], turn))
                return
            alias = types.get(dns.rdatatype.CNAME)
            if alias is None:
                response.authority.append(zone.soa)
                return
            response.answer.append(alias)
            name = alias[0].target
            onwards = self._zone(name)
            if onwards is None:
                return
            zone = onwards

    def _zone(self, name: dns.name.Name) -> _Contents | None:
        while name != dns.name.root:
            if name in self._zones:
                return self._zones[name]
            name = name.parent()
        return None


def _refusal(query: dns.message.Message) -> dns.rcode.Rcode | None:
    if query.edns > 0:
        return dns.rcode.BADVERS
    if query.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(query.question) != 1:
        return dns.rcode.FORMERR
    question = query.question[0]
    # Zone transfers and ANY (RFC 8482) are nobody's business.
    transfers = (dns.rdatatype.AXFR, dns.rdatatype.IXFR, dns.rdatatype.ANY)
    if question.rdclass != dns.rdataclass.IN or question.rdtype in transfers:
        return dns.rcode.REFUSED
    return None


def _rotated(rrset: dns.rrset.RRset, turn: int) -> dns.rrset.RRset:
    items = list(rrset)
    start = turn % len(items)
    rotated = dns.rrset.RRset(rrset.name, rrset.rdclass, rrset.rdtype)
    for rdata in items[start:] + items[:start]:
        rotated.add(rdata, rrset.ttl)
    return rotated


def reply(snapshot: Snapshot, packet: bytes, turn: int, *, udp: bool) -> bytes | None:
    """The wire answer to a wire query; None when the packet is not worth one."""
    if len(packet) < _HEADER_BYTES or packet[2] & 0x80:
        return None
    try:
        query = dns.message.from_wire(packet)
    except dns.exception.DNSException:
        # The identity and opcode of the query, QR set, and FORMERR.
        return packet[:2] + bytes([0x80 | packet[2] & 0x79, dns.rcode.FORMERR]) + bytes(8)
    response = snapshot.answer(query, turn)
    if not udp:
        return response.to_wire(max_size=65_535, want_shuffle=False)
    size = _UDP_BYTES_WITHOUT_EDNS
    if query.edns >= 0:
        size = max(size, min(query.payload, _UDP_BYTES))
    try:
        return response.to_wire(max_size=size, want_shuffle=False)
    except dns.exception.TooBig:
        for section in (response.answer, response.authority, response.additional):
            section.clear()
        response.flags |= dns.flags.TC
        return response.to_wire(max_size=size, want_shuffle=False)


class DnsServer:
    """Answers on sockets that the caller has bound, be it in another network namespace."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._turn = 0
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []

    def update(self, zones: Sequence[DnsZone]) -> None:
        """Answer from these zones from now on."""
        self._snapshot = Snapshot(zones)

    async def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Start answering on a bound UDP socket and a listening TCP socket, which now belong to the server."""
        loop = asyncio.get_running_loop()
        for opened in (udp, tcp):
            opened.setblocking(False)
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        self._transports.append(transport)
        self._servers.append(await asyncio.start_server(self._stream, sock=tcp))

    async def stop(self) -> None:
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        self._transports, self._servers = [], []

    def respond(self, packet: bytes, *, udp: bool) -> bytes | None:
        self._turn += 1
        return reply(self._snapshot, packet, self._turn, udp=udp)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    packet = await reader.readexactly(length)
                answer = self.respond(packet, udp=False)
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            return
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The selector loop's class is one in all but its bases, so it cannot be asked with isinstance.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.respond(data, udp=True)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)

    def error_received(self, exc: Exception) -> None:
        # ICMP's answer to an answer: the resolver has gone away.
        _LOG.debug("a DNS answer did not arrive: %s", exc)
