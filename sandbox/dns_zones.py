"""The cloud's zones as the world resolves them: DigitalOcean's domains and Cloudflare's zones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from sandbox.dns import DnsRecord, DnsZone
from sandbox.store import Document, Store

# https://developers.cloudflare.com/dns/manage-dns-records/reference/ttl/: the TTL of proxied records, and "auto".
_AUTOMATIC_SECONDS = 300
_DIGITALOCEAN_SERVERS = ("ns1.digitalocean.com", "ns2.digitalocean.com", "ns3.digitalocean.com")
_CLOUDFLARE_SERVERS = ("ns3.cloudflare.com", "ns4.cloudflare.com", "ns5.cloudflare.com")
_TXT_PIECE = 255


def dns_zones(store: Store, anycast: Sequence[str]) -> tuple[DnsZone, ...]:
    """All zones; names that Cloudflare proxies answer the edge's `anycast` addresses.

    The registrar delegates a domain to one place only. One that both have is Cloudflare's, unless that holds no record
    of it: then its owner has moved to the cloud's own DNS.
    """
    cloudflare = [
        cloudflare_zone(zone, (r for r in store.all("cf_record") if r["zone_id"] == zone["id"]), anycast)
        for zone in store.all("cf_zone")
    ]
    used = {zone.name for zone in cloudflare if zone.records}
    digitalocean = [
        digitalocean_zone(domain["name"], (r for r in store.all("record") if r["domain"] == domain["name"]))
        for domain in store.all("domain")
        if domain["name"] not in used
    ]
    moved = {zone.name for zone in digitalocean}
    return (*(zone for zone in cloudflare if zone.name not in moved), *digitalocean)


def platform_zone(host: str, anycast: Sequence[str]) -> DnsZone:
    """A name of Cloudflare's own, which answers the edge's addresses."""
    return DnsZone(host, _CLOUDFLARE_SERVERS, tuple(_addresses(host, anycast)))


def cluster_zone(domain: str, records: Sequence[DnsRecord]) -> DnsZone:
    """The names of managed databases."""
    return DnsZone(domain, _DIGITALOCEAN_SERVERS, tuple(records))


def service_zone(name: str, hosts: Sequence[str], addresses: Sequence[str]) -> DnsZone:
    """A zone of DigitalOcean's own, whose hosts answer these addresses."""
    records = [record for host in hosts for record in _addresses(host, addresses)]
    return DnsZone(name, _DIGITALOCEAN_SERVERS, tuple(records))


def cloudflare_zone(zone: Document, records: Iterable[Document], anycast: Sequence[str]) -> DnsZone:
    """A zone of Cloudflare; paused, it answers the origins themselves."""
    found: list[DnsRecord] = []
    for record in records:
        if record["proxied"] and not zone["paused"]:
            found += _addresses(record["name"], anycast)
        else:
            ttl = _AUTOMATIC_SECONDS if record["ttl"] == 1 else record["ttl"]
            found.append(DnsRecord(record["name"], record["type"], ttl, _data(record, record["content"])))
    return DnsZone(zone["name"], tuple(zone["name_servers"]), tuple(dict.fromkeys(found)))


def digitalocean_zone(domain: str, records: Iterable[Document]) -> DnsZone:
    """A domain of DigitalOcean, whose records name hosts relative to it; SOA and NS at the top are its own."""
    found = []
    for record in records:
        own = record["name"] in ("@", "")
        if record["type"] == "SOA" or (record["type"] == "NS" and own):
            continue
        name = domain if own else f"{record['name']}.{domain}"
        content = domain if record["data"] == "@" else record["data"]
        found.append(DnsRecord(name, record["type"], record["ttl"], _data(record, content)))
    return DnsZone(domain, _DIGITALOCEAN_SERVERS, tuple(found))


def _addresses(name: str, anycast: Sequence[str]) -> Iterator[DnsRecord]:
    for address in anycast:
        kind = "AAAA" if ip_address(address).version == 6 else "A"
        yield DnsRecord(name, kind, _AUTOMATIC_SECONDS, address)


def _data(record: Document, content: str) -> str:
    """The zone-file form of a record of either cloud."""
    host = f"{content.removesuffix('.')}."
    match record["type"]:
        case "CNAME" | "NS":
            return host
        case "MX":
            return f"{record['priority']} {host}"
        case "SRV" if isinstance(record.get("data"), dict):
            data = record["data"]
            return f"{data['priority']} {data['weight']} {data['port']} {data['target']}."
        case "SRV":
            return f"{record['priority']} {record['weight']} {record['port']} {host}"
        case "CAA" if "tag" in record:
            return f'{record["flags"]} {record["tag"]} "{content.removesuffix(".")}"'
        case "TXT":
            return _text(content)
        case _:
            return content


def _text(content: str) -> str:
    """TXT data in strings of at most 255 bytes, quoted; a value in quotes already is taken as one value."""
    plain = content[1:-1] if len(content) > 1 and content[0] == content[-1] == '"' else content
    raw = plain.encode()
    pieces = [raw[start : start + _TXT_PIECE] for start in range(0, len(raw), _TXT_PIECE)] or [b""]
    return " ".join('"' + "".join(_escaped(byte) for byte in piece) + '"' for piece in pieces)


def _escaped(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03d}"
