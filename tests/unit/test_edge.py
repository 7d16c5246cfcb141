"""The edge's pure parts: what it reads from the zones, how origins keep their places, what it tells HAProxy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from cryptography import x509
from hypothesis import strategies as st

from sandbox.cloudflare import ip_ranges, origin_pulls, zone_settings
from sandbox.edge.authority import EdgeAuthority
from sandbox.edge.haproxy_config import SlotKey, certificate_list, render, structure
from sandbox.edge.layout import EdgeLayout, PointOfPresence, points_of_presence
from sandbox.edge.slots import Slots, assign, given
from sandbox.edge.state import EdgeState, Host, SslMode, Zone, edge_state, hosts
from sandbox.store import Store
from tests.pems import new_key, private_pem, self_signed_pem

SITE = "www.foobar.com"


def record(name: str, content: str, kind: str = "A", *, proxied: bool = True) -> dict[str, Any]:
    return {"name": name, "content": content, "type": kind, "proxied": proxied, "zone_id": "z"}


def test_proxied_records_of_a_name_are_its_origins() -> None:
    every = [
        record(SITE, "198.18.0.11"),
        record(SITE, "198.18.0.10"),
        record("db.foobar.com", "198.18.0.12", proxied=False),
    ]
    assert hosts(every, every) == (Host(SITE, ("198.18.0.10", "198.18.0.11")),)


def test_alias_is_followed_to_unproxied_records() -> None:
    every = [
        record(SITE, "pool.foobar.com", "CNAME"),
        record("pool.foobar.com", "198.18.0.10", proxied=False),
    ]
    assert hosts(every, every) == (Host(SITE, ("198.18.0.10",)),)


def test_alias_that_leads_nowhere_or_in_circles_has_no_origins() -> None:
    every = [record("a.x", "b.x", "CNAME"), record("b.x", "a.x", "CNAME"), record("c.x", "else.org", "CNAME")]
    assert [host.origins for host in hosts(every, every)] == [(), (), ()]


def test_state_follows_settings_and_leaves_paused_zones_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    store.put("cf_zone", "z", {"id": "z", "name": "foobar.com", "status": "active", "paused": False})
    store.put("cf_zone", "p", {"id": "p", "name": "paused.com", "status": "active", "paused": True})
    store.put("cf_record", "1", record(SITE, "198.18.0.10"))
    store.put("cf_setting", "z/ssl", {"zone": "z", "name": "ssl", "value": "strict", "modified_on": "now"})
    assert edge_state(store, 0).zones == (
        Zone("foobar.com", (Host(SITE, ("198.18.0.10",)),), ssl=SslMode.STRICT),
    )


def pulled(store: Store, now: float) -> tuple[bool, str]:
    zone = edge_state(store, now).zones[0]
    return zone.origin_pulls, zone.client_certificate


def test_origin_pulls_show_what_has_reached_the_edge() -> None:
    store = Store(":memory:")
    store.put("cf_zone", "z", {"id": "z", "name": "foobar.com", "status": "active", "paused": False})
    key = new_key()
    certificate, private = self_signed_pem(key), private_pem(key)
    made = origin_pulls.upload(store, "z", {"certificate": certificate, "private_key": private}, now=100)
    assert pulled(store, 200) == (False, "")
    origin_pulls.enable(store, "z", {"enabled": True})
    assert pulled(store, 100) == (True, "")
    assert pulled(store, 200) == (True, certificate + private)
    origin_pulls.delete(store, "z", made["id"], now=300)
    assert pulled(store, 301) == (True, certificate + private)
    assert pulled(store, 400) == (True, "")


def test_global_origin_pulls_show_the_shared_certificate() -> None:
    store = Store(":memory:")
    store.put("cf_zone", "z", {"id": "z", "name": "foobar.com", "status": "active", "paused": False})
    zone_settings.change(store, "z", "tls_client_auth", "on")
    assert pulled(store, 0) == (True, "")


def test_origins_keep_their_places() -> None:
    held = assign((), ["a", "b", "c"])
    changed = assign(held, ["c", "d"])
    assert changed[2] == "c"
    assert sorted(filter(None, changed)) == ["c", "d"]
    assert len(changed) == len(held)


def test_new_origin_takes_a_place_nobody_just_left() -> None:
    assert assign(("a", None, None), ["b"]) == (None, "b", None)


def test_places_are_given_in_turn() -> None:
    places, last, seen = assign((), ["a"]), 0, []
    for address in "bcdefghi":
        before, places = places, assign(places, [address], last)
        last = given(before, places, last)
        seen.append(places.index(address))
    assert seen == [1, 2, 3, 4, 5, 6, 7, 0]


@hypothesis.given(st.lists(st.sets(st.integers(0, 40)), min_size=1, max_size=8))
def test_every_origin_has_one_place_whatever_the_changes(steps: list[set[int]]) -> None:
    places: Slots = ()
    for step in steps:
        wanted = {str(number) for number in step}
        before = places
        places = assign(places, wanted)
        assert {address for address in places if address} == wanted
        assert len([address for address in places if address]) == len(wanted)
        assert all(place == old for place, old in zip(places, before, strict=False) if old in wanted)


@pytest.fixture
def layout(tmp_path: Path) -> EdgeLayout:
    points = (
        PointOfPresence(
            "LHR", 8443, 8080, source="173.245.48.10", source6="2400:cb00::a", anycast=("173.245.48.20",)
        ),
        PointOfPresence("FRA", 8444, 8081, source="103.21.244.11"),
    )
    return EdgeLayout(tmp_path / "edge", points, namespace="fl0-edge")


def rendered(layout: EdgeLayout, *zones: Zone, **slots: Slots) -> str:
    state = EdgeState(zones)
    table = {
        SlotKey("LHR", SITE, 4): slots.get("v4", ("198.18.0.10", None)),
        SlotKey("LHR", SITE, 6): slots.get("v6", ()),
    }
    return render(layout, {"LHR": state, "FRA": EdgeState()}, table, "description")


def zone(*origins: str, **settings: Any) -> Zone:
    return Zone("foobar.com", (Host(SITE, origins),), **settings)


def test_servers_speak_from_cloudflares_addresses_in_the_edges_namespace(layout: EdgeLayout) -> None:
    text = rendered(layout, zone("198.18.0.10", "2001:db8::7"), v6=("2001:db8::7",))
    assert (
        "server v4-1 198.18.0.10:443 pool-purge-delay 900000ms source 173.245.48.10 namespace fl0-edge ssl"
        in text
    )
    assert "server v6-1 [2001:db8::7]:443 pool-purge-delay 900000ms source [2400:cb00::a]" in text
    assert "bind 173.245.48.20:443 namespace fl0-edge ssl" in text
    assert "timeout connect 19000ms" in text
    assert "timeout server 120000ms" in text


def test_vacant_places_are_disabled(layout: EdgeLayout) -> None:
    lines = [line for line in rendered(layout, zone("198.18.0.10")).splitlines() if "server v4-" in line]
    assert [line.endswith(" disabled") for line in lines] == [False, True, False, True]


@pytest.mark.parametrize(
    ("mode", "wanted", "unwanted"),
    [
        (SslMode.OFF, "location http://", " ssl sni"),
        (SslMode.FLEXIBLE, "use_backend LHR.to-plain", " ssl sni"),
        (SslMode.FULL, "verify none", "verify required"),
        (SslMode.STRICT, "verify required", "verify none"),
    ],
)
def test_ssl_modes(layout: EdgeLayout, mode: SslMode, wanted: str, unwanted: str) -> None:
    text = rendered(layout, zone("198.18.0.10", ssl=mode))
    assert wanted in text
    assert unwanted not in text


def test_one_retry_and_only_with_another_origin(layout: EdgeLayout) -> None:
    assert "retries 0" in rendered(layout, zone("198.18.0.10"))
    both = rendered(layout, zone("198.18.0.10", "198.18.0.11"), v4=("198.18.0.10", "198.18.0.11"))
    assert "retries 1" in both
    assert "retry-on conn-failure" in both


def test_zone_settings_shape_the_handshake(layout: EdgeLayout) -> None:
    state = EdgeState((zone(min_tls_version="1.2", tls_1_3=False, http2=False),))
    assert certificate_list(layout, state) == (
        f"{layout.directory}/foobar.com.pem [ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2 alpn http/1.1]"
        " foobar.com *.foobar.com\n"
    )


def test_client_certificate_is_named_after_its_content(layout: EdgeLayout) -> None:
    def shown(**settings: Any) -> str:
        found = re.search(r" crt (\S+)", rendered(layout, zone("198.18.0.10", **settings)))
        return found[1] if found else ""

    assert shown() == ""
    assert shown(origin_pulls=True) == f"{layout.directory}/origin-pull/client.pem"
    first, second = (shown(origin_pulls=True, client_certificate=text) for text in ("one", "two"))
    assert first != second
    assert "one" not in first
    assert shown(origin_pulls=True, client_certificate="one", ssl=SslMode.FLEXIBLE) == ""


def test_cloudflares_api_is_served_where_it_is_told(layout: EdgeLayout) -> None:
    assert "backend api" not in rendered(layout)
    told = replace(layout, api_port=7380)
    text = rendered(told)
    assert "    server api 127.0.0.1:7380\n" in text
    assert "http-request return status 404 unless { path_beg /client/v4/ }" in text
    assert certificate_list(told, EdgeState()).endswith(" api.cloudflare.com\n")


def test_structure_is_all_but_addresses(layout: EdgeLayout) -> None:
    def of(found: Zone, *places: str | None) -> str:
        views = {"LHR": EdgeState((found,)), "FRA": EdgeState()}
        return structure(layout, views, {SlotKey("LHR", SITE, 4): places})

    first = of(zone("198.18.0.10"), "198.18.0.10", None)
    assert of(zone("198.18.0.11"), None, "198.18.0.11") == first
    assert of(zone("198.18.0.10", ssl=SslMode.STRICT), "198.18.0.10", None) != first
    assert of(zone("198.18.0.10", min_tls_version="1.2"), "198.18.0.10", None) != first
    assert of(zone("198.18.0.10"), "198.18.0.10", None, None) != first


def test_points_of_presence_have_addresses_of_published_ranges(tmp_path: Path) -> None:
    points = points_of_presence(ip_ranges(Store(tmp_path / "db")), (1, 2, 3), (4, 5, 6))
    assert [point.source for point in points] == ["173.245.48.10", "103.21.244.11", "103.22.200.12"]
    assert points[0].anycast == ("173.245.48.20", "2400:cb00::14")


def test_certificate_is_kept_until_its_names_change(tmp_path: Path) -> None:
    authority = EdgeAuthority(tmp_path)
    authority.ensure()
    file = tmp_path / "zone.pem"
    assert authority.issue(file, ["foobar.com", "*.foobar.com"])
    assert not authority.issue(file, ["foobar.com", "*.foobar.com"])
    assert authority.issue(file, ["foobar.com"])
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    root = x509.load_pem_x509_certificate(authority.certificate_file.read_bytes())
    certificate.verify_directly_issued_by(root)
    assert file.stat().st_mode & 0o077 == 0
