"""DigitalOcean's own names and addresses, as machines of the sandbox find them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

from sandbox.cloud_services import cloud_services
from sandbox.cloudflare.ranges import ip_ranges
from sandbox.dns_zones import service_zone
from sandbox.edge.haproxy_config import render
from sandbox.edge.layout import EdgeLayout, points_of_presence
from sandbox.edge.state import EdgeState
from sandbox.network.plan import INTERNET, VISITOR
from sandbox.store import Store

API, STORAGE = cloud_services("fl0-internet", api_port=7380, storage_port=7393)


def test_services_have_addresses_of_the_internet_that_nobody_else_has() -> None:
    addresses = [API.address, STORAGE.address]
    assert all(ip_address(address) in ip_network(INTERNET) for address in addresses)
    assert len({*addresses, VISITOR}) == 3


def test_every_region_and_every_bucket_has_a_name() -> None:
    zone = service_zone(STORAGE.name, STORAGE.hosts, [STORAGE.address])
    known = {record.name: (record.type, record.data) for record in zone.records}
    assert known["lon1.digitaloceanspaces.com"] == ("A", STORAGE.address)
    assert known["*.lon1.digitaloceanspaces.com"] == ("A", STORAGE.address)


def test_machines_reach_the_api_and_nothing_else_on_its_port(tmp_path: Path) -> None:
    points = points_of_presence(ip_ranges(Store(":memory:")), (1, 2, 3), (4, 5, 6))
    layout = EdgeLayout(tmp_path, points, "fl0-edge", services=(API, STORAGE))
    text = render(layout, dict.fromkeys(("LHR", "FRA", "AMS"), EdgeState()), {}, "")
    frontend = text.partition("frontend service.api.digitalocean.com\n")[2].partition("\n\n")[0]
    assert "http-request return status 404 unless { path_beg /v2/ }" in frontend
    assert f"bind {API.address}:443 ssl crt {tmp_path}/api.digitalocean.com.pem" in frontend
    assert "namespace fl0-internet" in frontend
    assert "server inside 127.0.0.1:7380" in text
    assert "server inside 127.0.0.1:7393" in text
