"""What a machine's cloud-init is told."""

from __future__ import annotations

from dataclasses import replace

import yaml

from sandbox.machines import seed
from sandbox.machines.port import Ipv6
from tests.machine_lab import KEY, spec


def test_user_data_is_passed_on_as_it_is() -> None:
    text = "#!/bin/sh\n\techo 'ä' \n\n"
    assert seed.render(spec(7, user_data=text), 1)["user-data"] == text


def test_a_new_incarnation_is_a_new_instance() -> None:
    first, second = (yaml.safe_load(seed.render(spec(7), number)["meta-data"]) for number in (1, 2))
    assert first["instance-id"] != second["instance-id"]
    assert (first["local-hostname"], first["public-keys"]) == ("web-7", [KEY])


def test_the_public_card_has_the_default_route_and_the_private_one_none() -> None:
    config = yaml.safe_load(seed.render(spec(7), 1)["network-config"])
    assert config["version"] == 2
    assert config["ethernets"]["eth0"] == {
        "match": {"macaddress": "02:00:00:00:07:00"},
        "set-name": "eth0",
        "addresses": ["203.0.113.17/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "203.0.113.1"}],
    }
    assert "routes" not in config["ethernets"]["eth1"]


def test_a_gateway_outside_the_network_is_on_link() -> None:
    outside = replace(spec(7).public, prefix=32)
    config = yaml.safe_load(seed.render(spec(7, public=outside), 1)["network-config"])
    assert config["ethernets"]["eth0"]["routes"] == [
        {"to": "0.0.0.0/0", "via": "203.0.113.1", "on-link": True}
    ]


def test_ipv6_is_static_too() -> None:
    ipv6 = Ipv6("2001:db8:f100:1::2", 64, "2001:db8:f100:1::1")
    config = yaml.safe_load(
        seed.render(spec(7, public=replace(spec(7).public, ipv6=ipv6)), 1)["network-config"]
    )
    public = config["ethernets"]["eth0"]
    assert public["addresses"] == ["203.0.113.17/24", "2001:db8:f100:1::2/64"]
    assert public["routes"][1] == {"to": "::/0", "via": "2001:db8:f100:1::1"}
    assert public["accept-ra"] is False
