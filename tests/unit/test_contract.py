"""What holds for every component and every resource of the program, whatever edge and engine it is built with."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_type_hints

import pulumi
import pytest

from components import (
    autoscaler_node,
    clouds,
    database_tier,
    datastore,
    edge,
    firewall,
    managed_database,
    web_tier,
)
from components.clouds import port
from components.naming import Child, Common
from tests.harness import Recording, Registered, deploy, is_secret
from tests.unit.test_autoscaler_node import autoscaling
from tests.unit.test_settings import good

ROOT = Path(__file__).resolve().parents[2]

COMPONENTS = [
    (firewall.Firewall, firewall.FirewallArgs),
    (edge.Edge, edge.EdgeArgs),
    (database_tier.DatabaseTier, database_tier.DatabaseTierArgs),
    (managed_database.ManagedDatabase, managed_database.ManagedDatabaseArgs),
    (datastore.Datastore, datastore.DatastoreArgs),
    (autoscaler_node.AutoscalerNode, autoscaler_node.AutoscalerNodeArgs),
    (web_tier.WebTier, web_tier.WebTierArgs),
]
PORTS: list[type[Protocol]] = [  # type: ignore[valid-type]  # a Protocol is a class
    port.Catalogue,
    port.Cloud,
    port.Databases,
    port.Storage,
    port.EdgeLookups,
    port.Edge,
    port.Dns,
]
AUTO_NAMED = {
    "Droplet",
    "Vpc",
    "SshKey",
    "Firewall",
    "Volume",
    "DatabaseCluster",
    "SpacesBucket",
    "SpacesKey",
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to configure a stack."""

    edge: str
    engine: str
    stack: str
    database: str = "self-hosted"

    def config(self) -> dict[str, Any]:
        config = good() | {"edge": {"kind": self.edge, "zone": "foobar.com"}}
        if self.database == "managed":
            config["database"] = {"kind": "managed", "nodes": 2, "size": "db-s-1vcpu-2gb"}
            config |= {"force": ["managed-database", "autoscaler"], "datastore": {}} | autoscaling()
        config["database"]["engine"] = self.engine
        config["cloud"] = config["cloud"] | {"ipv6": self.stack == "prod"}
        return config


VARIANTS = [
    Variant(edge, engine, stack)
    for edge in ("cloudflare", "none")
    for engine in ("mysql", "postgresql")
    for stack in ("dev", "prod")
]
VARIANTS += [
    Variant("cloudflare", engine, stack, "managed")
    for engine in ("mysql", "postgresql")
    for stack in ("dev", "prod")
]


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda v: f"{v.edge}-{v.database}-{v.engine}-{v.stack}")
def recording(request: pytest.FixtureRequest) -> Recording:
    """The whole program, built once for each combination that the contract must hold for."""
    variant: Variant = request.param
    return deploy(
        lambda: runpy.run_path(str(ROOT / "__main__.py")), config=variant.config(), stack=variant.stack
    )


def components(recording: Recording) -> list[Registered]:
    return [resource for resource in recording.resources if not resource.custom]


def test_component_types_are_of_this_project(recording: Recording) -> None:
    edge = {"flotilla:index:Edge"} if recording.of_type("cloudflare:index/dnsRecord:DnsRecord") else set()
    whole = {"flotilla:index:Datastore", "flotilla:index:AutoscalerNode"} if managed(recording) else set()
    assert {component.type for component in components(recording)} == edge | whole | {
        "flotilla:index:Firewall",
        "flotilla:index:DatabaseTier",
        "flotilla:index:WebTier",
    }


def test_every_component_registers_its_outputs_exactly_once(recording: Recording) -> None:
    for component in components(recording):
        assert len(recording.outputs[component.urn]) == 1, component.name


def test_the_tree_has_two_levels(recording: Recording) -> None:
    tops = {component.urn for component in components(recording)}
    for resource in recording.resources:
        is_top = "::pulumi:pulumi:Stack::" in resource.parent
        assert is_top or resource.parent in tops, resource.name


def test_what_a_tier_makes_is_its_child(recording: Recording) -> None:
    parents = {component.name: component.urn for component in components(recording)}
    for resource in recording.resources:
        tier = resource.name.split("-")[0]
        if resource.custom and tier in parents:
            assert resource.parent == parents[tier], resource.name


def test_names_end_with_a_known_noun(recording: Recording) -> None:
    nouns = set(Child)
    for resource in recording.resources:
        prefix, _, rest = resource.name.partition("-")
        if resource.custom and prefix in ("web", "database", "autoscaler"):
            if rest in set(Common) or re.fullmatch(rf"{Common.USER}-\d+", rest):
                continue
            number, _, noun = rest.partition("-")
            assert number.isdigit(), resource.name
            assert not noun or noun in nouns, resource.name


def test_urns_are_unique(recording: Recording) -> None:
    assert len({resource.urn for resource in recording.resources}) == len(recording.resources)


def test_nothing_that_must_be_replaced_without_a_gap_is_named_by_hand(recording: Recording) -> None:
    for resource in recording.resources:
        if resource.type.startswith("digitalocean:") and resource.type.rpartition(":")[2] in AUTO_NAMED:
            assert "name" not in resource.inputs, resource.name


def test_every_machine_is_tagged_with_its_stack_and_role(recording: Recording) -> None:
    machines = recording.of_type("digitalocean:index/droplet:Droplet")
    stack = recording.named("web-1").inputs["tags"][0]
    for machine in machines:
        assert machine.inputs["tags"] == [stack, f"{stack}-{machine.name.split('-')[0]}"]


def test_every_machine_comes_after_tags_and_firewall(recording: Recording) -> None:
    for machine in recording.of_type("digitalocean:index/droplet:Droplet"):
        upstream = recording.upstream(machine.name)
        assert f"firewall-{machine.name.split('-')[0]}" in upstream
        assert {f"tag-{tag}" for tag in machine.inputs["tags"]} <= upstream


def test_only_data_is_protected_and_only_in_production(recording: Recording) -> None:
    production = recording.named("web-1").inputs["tags"][0] == "prod"
    data = {"database-1-data"} & set(recording.names()) or {
        "database-cluster",
        "database-site",
        "datastore-bucket",
    }
    protected = {resource.name for resource in recording.resources if resource.protect}
    assert protected == (data if production else set())


def test_no_change_is_ignored_but_what_would_end_a_managed_database(recording: Recording) -> None:
    ignoring = {resource.name for resource in recording.resources if resource.ignore_changes}
    assert ignoring == ({"database-cluster", "network"} if managed(recording) else set())


def managed(recording: Recording) -> bool:
    return "database-cluster" in recording.names()


def test_only_what_cannot_be_there_twice_goes_before_its_successor_comes(recording: Recording) -> None:
    first = [resource.name for resource in recording.resources if resource.delete_before_replace]
    # A record is only replaced when its machine makes room for its successor.
    assert [name for name in first if not name.endswith(("-dns", "-dns6"))] == (
        ["autoscaler-1"] if managed(recording) else ["database-1"]
    )


def test_connections_user_data_and_stdin_are_secret(recording: Recording) -> None:
    for resource in recording.resources:
        for key in ("connection", "userData", "stdin", "environment", "privateKey"):
            if key in resource.inputs:
                assert is_secret(resource.inputs[key]), f"{resource.name}.{key}"


def test_no_private_key_stands_in_plain(recording: Recording) -> None:
    for resource in recording.resources:
        plain = {key: value for key, value in resource.inputs.items() if not is_secret(value)}
        assert "PRIVATE KEY" not in json.dumps(plain), resource.name


def test_no_output_tells_a_secret(recording: Recording) -> None:
    for calls in recording.outputs.values():
        for outputs in calls:
            assert not any(is_secret(value) for value in outputs.values())
            assert "PRIVATE KEY" not in json.dumps(outputs, default=str)


@pytest.mark.parametrize(("component", "args"), COMPONENTS)
def test_constructors_have_one_signature(component: type[pulumi.ComponentResource], args: type) -> None:
    parameters = list(inspect.signature(component.__init__).parameters)
    assert parameters == ["self", "name", "args", "opts"]
    assert get_type_hints(component.__init__)["args"] is args


@pytest.mark.parametrize("args", [args for _, args in COMPONENTS])
def test_args_are_frozen_and_by_keyword(args: Any) -> None:
    assert dataclasses.is_dataclass(args)
    assert vars(args)["__dataclass_params__"].frozen
    assert all(field.kw_only for field in dataclasses.fields(args))
    assert hasattr(args, "__slots__")


@pytest.mark.parametrize("component", [component for component, _ in COMPONENTS])
def test_outputs_are_few(component: type) -> None:
    declared = component.__annotations__
    assert 1 <= len(declared) <= 7
    assert "native" in declared


@pytest.mark.parametrize("protocol", PORTS)
def test_ports_are_narrow(protocol: type) -> None:
    methods = [name for name in vars(protocol) if not name.startswith("_")]
    assert 1 <= len(methods) <= 4


def test_no_options_of_the_caller_reach_children() -> None:
    """Merging them would move the children out of their component."""
    for path in sorted((ROOT / "components").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "merge"
            ):
                names = {
                    name.id
                    for argument in node.args
                    for name in ast.walk(argument)
                    if isinstance(name, ast.Name)
                }
                assert path.name == "commands.py", path
                assert "args" not in names


def test_adapters_satisfy_their_ports() -> None:
    """The chooser's annotations make mypy check this; here it is seen that they are there."""
    names = ("catalogue", "place", "dns", "edge")
    hints = {name: get_type_hints(getattr(clouds, name))["return"] for name in names}
    assert hints == {
        "catalogue": port.Catalogue,
        "place": port.Place,
        "dns": port.Dns,
        "edge": port.Edge | None,
    }
