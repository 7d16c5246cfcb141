"""The name server: what it answers, and how it moves packets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from sandbox.dns import DnsRecord, DnsServer, DnsZone, Snapshot, reply
from sandbox.dns_zones import dns_zones, platform_zone
from sandbox.store import Store

ZONE = DnsZone(
    "foobar.com",
    ("ada.ns.cloudflare.com", "hank.ns.cloudflare.com"),
    (
        DnsRecord("www.foobar.com", "A", 60, "198.18.0.10"),
        DnsRecord("www.foobar.com", "A", 60, "198.18.0.11"),
        DnsRecord("www.foobar.com", "AAAA", 60, "2001:db8::10"),
        DnsRecord("blog.foobar.com", "CNAME", 300, "www.foobar.com."),
        DnsRecord("shop.foobar.com", "CNAME", 300, "shops.example.net."),
        DnsRecord("round.foobar.com", "CNAME", 300, "round.foobar.com."),
        DnsRecord("a.b.foobar.com", "TXT", 300, '"deep"'),
        DnsRecord("*.wild.foobar.com", "A", 60, "198.18.0.20"),
        DnsRecord("given.foobar.com", "NS", 300, "ns.example.net."),
        *(DnsRecord("many.foobar.com", "A", 60, f"198.18.1.{number}") for number in range(100)),
    ),
)


def ask(name: str, kind: str = "A", turn: int = 0) -> dns.message.Message:
    return Snapshot([ZONE]).answer(dns.message.make_query(name, kind), turn)


def values(response: dns.message.Message) -> list[str]:
    return [str(rdata) for rrset in response.answer for rdata in rrset]


def test_addresses_are_answered_with_authority() -> None:
    response = ask("WWW.foobar.com")
    assert sorted(values(response)) == ["198.18.0.10", "198.18.0.11"]
    assert response.answer[0].ttl == 60
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert values(ask("www.foobar.com", "AAAA")) == ["2001:db8::10"]


def test_order_rotates() -> None:
    assert {values(ask("www.foobar.com", turn=turn))[0] for turn in (0, 1)} == {"198.18.0.10", "198.18.0.11"}


def test_missing_name_is_nxdomain_with_soa() -> None:
    response = ask("nothing.foobar.com")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert response.authority[0].rdtype == dns.rdatatype.SOA


@pytest.mark.parametrize(
    ("name", "kind"), [("www.foobar.com", "MX"), ("b.foobar.com", "A"), ("foobar.com", "A")]
)
def test_missing_type_is_no_error_with_soa(name: str, kind: str) -> None:
    response = ask(name, kind)
    assert (response.rcode(), response.answer) == (dns.rcode.NOERROR, [])
    assert response.authority[0].rdtype == dns.rdatatype.SOA


def test_top_of_the_zone_has_soa_and_name_servers() -> None:
    assert values(ask("foobar.com", "NS")) == ["ada.ns.cloudflare.com.", "hank.ns.cloudflare.com."]
    assert values(ask("foobar.com", "SOA"))[0].startswith("ada.ns.cloudflare.com. hostmaster.foobar.com.")


def test_alias_is_followed_inside_the_zone() -> None:
    assert values(ask("blog.foobar.com"))[0] == "www.foobar.com."
    assert len(values(ask("blog.foobar.com"))) == 3
    assert values(ask("blog.foobar.com", "CNAME")) == ["www.foobar.com."]


def test_alias_to_elsewhere_is_left_to_the_resolver() -> None:
    response = ask("shop.foobar.com")
    assert (values(response), response.authority) == (["shops.example.net."], [])


def test_alias_in_a_circle_ends() -> None:
    assert len(ask("round.foobar.com").answer) <= 8


def test_wildcard_answers_under_the_asked_name() -> None:
    response = ask("x.wild.foobar.com")
    assert (str(response.answer[0].name), values(response)) == ("x.wild.foobar.com.", ["198.18.0.20"])


def test_delegated_name_is_referred() -> None:
    response = ask("x.given.foobar.com")
    assert (response.answer, response.authority[0].rdtype) == ([], dns.rdatatype.NS)
    assert not response.flags & dns.flags.AA


@pytest.mark.parametrize(
    ("name", "kind"), [("example.org", "A"), ("foobar.com", "AXFR"), ("foobar.com", "ANY")]
)
def test_what_is_not_ours_is_refused(name: str, kind: str) -> None:
    assert ask(name, kind).rcode() == dns.rcode.REFUSED


def test_serial_follows_the_content() -> None:
    assert ZONE.serial == DnsZone(ZONE.name, ZONE.name_servers, ZONE.records).serial
    assert ZONE.serial != DnsZone(ZONE.name, ZONE.name_servers, ZONE.records[1:]).serial


def test_record_that_cannot_be_encoded_does_not_silence_the_zone() -> None:
    zone = DnsZone("foobar.com", ("ns.x",), (DnsRecord("a.foobar.com", "A", 60, "nonsense"), *ZONE.records))
    response = Snapshot([zone]).answer(dns.message.make_query("www.foobar.com", "AAAA"))
    assert values(response) == ["2001:db8::10"]


def test_broken_packet_is_a_format_error() -> None:
    broken = b"\xab\xcd\x01\x00\x00\x01" + bytes(6) + b"\xff"
    answer = reply(Snapshot(), broken, 0, udp=True)
    assert answer is not None
    assert (answer[:2], answer[3] & 15) == (b"\xab\xcd", dns.rcode.FORMERR)
    assert reply(Snapshot(), b"short", 0, udp=True) is None


@pytest.fixture
async def server() -> AsyncIterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        port: int = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", port))
        running = DnsServer()
        running.update([ZONE])
        await running.serve(udp, tcp.dup())
        yield port
        await running.stop()


async def test_large_answer_is_cut_on_udp_and_whole_on_tcp(server: int) -> None:
    query = dns.message.make_query("many.foobar.com", "A", use_edns=0, payload=4096)
    cut = await dns.asyncquery.udp(query, "127.0.0.1", port=server, timeout=5)
    whole = await dns.asyncquery.tcp(query, "127.0.0.1", port=server, timeout=5)
    assert cut.flags & dns.flags.TC
    assert len(whole.answer[0]) == 100


async def test_successive_answers_rotate(server: int) -> None:
    query = dns.message.make_query("www.foobar.com", "A")
    firsts = {
        values(await dns.asyncquery.udp(query, "127.0.0.1", port=server, timeout=5))[0] for _ in range(4)
    }
    assert firsts == {"198.18.0.10", "198.18.0.11"}


def _store(path: Path) -> Store:
    store = Store(path / "db")
    zone = {"id": "z", "name": "foobar.com", "paused": False, "name_servers": ["ada.ns.cloudflare.com"]}
    store.put("cf_zone", "z", zone)
    common = {"zone_id": "z", "ttl": 1, "priority": None, "data": None}
    records: list[dict[str, Any]] = [
        {"name": "www.foobar.com", "type": "A", "content": "198.18.0.10", "proxied": True},
        {"name": "www.foobar.com", "type": "A", "content": "198.18.0.11", "proxied": True},
        {"name": "db.foobar.com", "type": "A", "content": "198.18.0.12", "proxied": False},
        {"name": "t.foobar.com", "type": "TXT", "content": 'say "hi" ' + "x" * 300, "proxied": False},
    ]
    for number, record in enumerate(records):
        store.put("cf_record", number, common | record)
    store.put("domain", "other.org", {"name": "other.org", "ttl": 1800})
    rest = {"domain": "other.org", "ttl": 60, "priority": None, "port": None, "weight": None}
    own: list[dict[str, Any]] = [
        {"type": "NS", "name": "@", "data": "ns1.digitalocean.com"},
        {"type": "A", "name": "@", "data": "198.18.0.30"},
        {"type": "CNAME", "name": "www", "data": "@"},
        {"type": "MX", "name": "@", "data": "mail.other.org", "priority": 10},
        {"type": "SRV", "name": "_x._tcp", "data": "a.other.org", "priority": 1, "weight": 2, "port": 3},
        {"type": "CAA", "name": "@", "data": "letsencrypt.org.", "flags": 0, "tag": "issue"},
    ]
    for number, record in enumerate(own):
        store.put("record", number, rest | record)
    return store


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("www.foobar.com", "A", ["104.16.0.1"]),
        ("www.foobar.com", "AAAA", ["2606:4700::1"]),
        ("db.foobar.com", "A", ["198.18.0.12"]),
        ("other.org", "A", ["198.18.0.30"]),
        ("www.other.org", "A", ["other.org.", "198.18.0.30"]),
        ("other.org", "MX", ["10 mail.other.org."]),
        ("_x._tcp.other.org", "SRV", ["1 2 3 a.other.org."]),
        ("other.org", "CAA", ['0 issue "letsencrypt.org"']),
        ("other.org", "NS", ["ns1.digitalocean.com.", "ns2.digitalocean.com.", "ns3.digitalocean.com."]),
    ],
)
def test_records_of_the_store_resolve(tmp_path: Path, name: str, kind: str, wanted: list[str]) -> None:
    zones = dns_zones(_store(tmp_path), ["104.16.0.1", "2606:4700::1"])
    assert values(Snapshot(zones).answer(dns.message.make_query(name, kind))) == wanted


def _foobar_at_the_cloud(tmp_path: Path) -> Store:
    """The same store, in which DigitalOcean has foobar.com as well."""
    store = _store(tmp_path)
    store.put("domain", "foobar.com", {"name": "foobar.com", "ttl": 1800})
    record = {"domain": "foobar.com", "type": "A", "name": "www", "data": "198.18.0.40", "ttl": 60}
    store.put("record", 100, record | {"priority": None, "port": None, "weight": None})
    return store


def test_a_domain_that_both_have_is_cloudflares(tmp_path: Path) -> None:
    zones = dns_zones(_foobar_at_the_cloud(tmp_path), ["104.16.0.1"])
    assert values(Snapshot(zones).answer(dns.message.make_query("www.foobar.com", "A"))) == ["104.16.0.1"]


def test_a_domain_without_records_at_cloudflare_is_the_clouds(tmp_path: Path) -> None:
    store = _foobar_at_the_cloud(tmp_path)
    for number in range(4):
        store.delete("cf_record", number)
    response = Snapshot(dns_zones(store, ["104.16.0.1"])).answer(
        dns.message.make_query("www.foobar.com", "A")
    )
    assert values(response) == ["198.18.0.40"]
    assert response.answer[0].ttl == 60


def test_cloudflares_own_api_is_at_the_edge() -> None:
    zone = platform_zone("api.cloudflare.com", ["104.16.0.1", "2606:4700::1"])
    answers = [
        values(Snapshot((zone,)).answer(dns.message.make_query(zone.name, kind))) for kind in ("A", "AAAA")
    ]
    assert answers == [["104.16.0.1"], ["2606:4700::1"]]


def test_text_is_quoted_and_split(tmp_path: Path) -> None:
    zones = dns_zones(_store(tmp_path), [])
    response = Snapshot(zones).answer(dns.message.make_query("t.foobar.com", "TXT"))
    strings = response.answer[0][0].strings
    assert b"".join(strings) == b'say "hi" ' + b"x" * 300
    assert len(strings[0]) == 255
