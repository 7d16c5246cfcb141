"""The one table of who may reach what, as cloud firewalls and as the machines' own rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components import model
from components.model import Engine, Role
from tests.harness import deploy
from tests.unit.tiers import EDGE_RANGES, PLACES, ROLES, make_firewall, make_site

ANYONE = replace(PLACES, edge=())


def rules(role: str, places: model.Places = PLACES, engine: Engine = "mysql") -> dict[str, dict[str, Any]]:
    """Inbound rules of a role's cloud firewall by port."""
    recording = deploy(lambda: make_firewall(make_site(engine, places)))
    return {rule["portRange"]: rule for rule in recording.named(f"firewall-{role}").inputs["inboundRules"]}


def test_each_role_has_a_firewall_bound_by_its_tag() -> None:
    recording = deploy(lambda: make_firewall(make_site()))
    bound = {
        resource.name: resource.inputs["tags"]
        for resource in recording.of_type("digitalocean:index/firewall:Firewall")
    }
    assert bound == {"firewall-web": ["dev-web"], "firewall-database": ["dev-database"]}


def test_firewalls_wait_for_their_tags() -> None:
    recording = deploy(lambda: make_firewall(make_site()))
    assert recording.named("tag-dev-web").urn in recording.named("firewall-web").dependencies


def test_firewalls_are_not_named_by_hand() -> None:
    recording = deploy(lambda: make_firewall(make_site()))
    assert "name" not in recording.named("firewall-web").inputs


@pytest.mark.parametrize("role", ["web", "database"])
def test_ssh_comes_from_the_admin_and_the_stack_only(role: str) -> None:
    assert rules(role)["22"] == {
        "protocol": "tcp",
        "portRange": "22",
        "sourceAddresses": ["203.0.113.7/32"],
        "sourceTags": ["dev"],
    }


def test_the_web_is_open_to_the_edge_in_one_rule_for_both_families() -> None:
    assert rules("web")["443"] == {
        "protocol": "tcp",
        "portRange": "443",
        "sourceAddresses": list(EDGE_RANGES),
    }


def test_without_an_edge_the_web_is_open_to_anyone() -> None:
    assert rules("web", ANYONE)["443"]["sourceAddresses"] == ["0.0.0.0/0", "::/0"]


@pytest.mark.parametrize(("engine", "port"), [("mysql", "3306"), ("postgresql", "5432")])
def test_the_database_is_open_to_web_members_only(engine: Engine, port: str) -> None:
    opened = rules("database", engine=engine)
    assert set(opened) == {"22", port}
    assert opened[port] == {"protocol": "tcp", "portRange": port, "sourceTags": ["dev-web"]}


def test_everything_else_is_closed() -> None:
    assert set(rules("web")) == {"22", "443", "8101", "8102"}


def test_members_ask_each_other_how_they_are_and_stand_in_for_each_other_and_nobody_else_may() -> None:
    for port in ("8101", "8102"):
        assert rules("web")[port] == {"protocol": "tcp", "portRange": port, "sourceTags": ["dev-web"]}


def test_machines_may_send_anything_anywhere() -> None:
    recording = deploy(lambda: make_firewall(make_site()))
    outbound = recording.named("firewall-web").inputs["outboundRules"]
    assert {rule["protocol"]: rule.get("portRange") for rule in outbound} == {
        "tcp": "all",
        "udp": "all",
        "icmp": None,
    }
    assert all(rule["destinationAddresses"] == ["0.0.0.0/0", "::/0"] for rule in outbound)


def test_a_role_that_the_stack_lacks_gets_no_rule() -> None:
    granted = model.grants(Role.WEB, present=ROLES, engine="mysql")
    assert all(Role.AUTOSCALER not in grant.roles for grant in granted)
    with_it = model.grants(Role.WEB, present=ROLES | {Role.AUTOSCALER}, engine="mysql")
    roles = {grant.port: grant.roles for grant in with_it}
    assert roles == {22: (), 443: (Role.AUTOSCALER,), 8101: (Role.WEB, Role.AUTOSCALER), 8102: (Role.WEB,)}


def machine(role: Role, places: model.Places = PLACES) -> dict[int, tuple[str, ...]]:
    granted = model.grants(role, present=ROLES, engine="mysql")
    return {rule.port: rule.sources for rule in model.machine_rules(granted, places)}


def test_a_machine_knows_the_edge_as_a_named_set() -> None:
    assert machine(Role.WEB) == {
        22: ("203.0.113.7/32", "10.20.0.0/20"),
        443: ("edge",),
        8101: ("10.20.0.0/20",),
        8102: ("10.20.0.0/20",),
    }


def test_a_machine_without_an_edge_is_open_to_anyone() -> None:
    assert machine(Role.WEB, ANYONE)[443] == ("0.0.0.0/0", "::/0")


def test_a_machine_knows_its_peers_by_the_private_network() -> None:
    assert machine(Role.DATABASE)[3306] == ("10.20.0.0/20",)


def test_both_layers_open_the_same_ports() -> None:
    for role in ROLES:
        assert {str(port) for port in machine(role)} == set(rules(role))
