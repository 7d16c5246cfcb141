"""The autoscaler node: alone, told everything after its birth, and outlived by nothing that it makes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import yaml

from fleet.config import Bundle, MachineConfig
from fleet.controller.config import BurstKey, ControllerConfig, ControllerSecrets
from tests.harness import Recording, World, droplet, is_secret
from tests.unit.test_program import refused, run
from tests.unit.test_settings import AUTOSCALER, TOKENS, good, mistakes, read
from tests.unit.tiers import IDENTITY

OWN_TOKENS = {"controllerCloudToken": "cloud-token-0", "controllerEdgeToken": "edge-token-0"}
SCHEDULE = {"cron": "30 8 * * mon-fri", "timezone": "Europe/London", "members": 5}


def autoscaling(**changes: Any) -> dict[str, Any]:
    """What a config needs for an autoscaler."""
    return {"autoscaler": AUTOSCALER | changes, **OWN_TOKENS}


def config_of(**changes: Any) -> dict[str, Any]:
    return good() | autoscaling(**changes)


def node(config: dict[str, Any] | None = None, **arguments: Any) -> Recording:
    return run(config, stack="prod", **arguments) if config else usual()


@cache
def usual() -> Recording:
    """The program with the usual config, built once, as nobody changes a recording."""
    return run(config_of(), stack="prod")


def bundle(recording: Recording) -> Bundle:
    """What the node is told, as it reads it."""
    return Bundle.from_json(recording.named("autoscaler-1-secrets").plain("stdin"), "autoscaler")


def told(recording: Recording) -> ControllerConfig:
    return ControllerConfig.from_json(bundle(recording).secrets["controller.json"])


def secrets(recording: Recording) -> ControllerSecrets:
    return ControllerSecrets.from_json(bundle(recording).secrets["controller-secrets.json"])


def user_data(recording: Recording, name: str) -> str:
    return str(recording.named(name).plain("userData"))


def test_the_node_is_a_machine_of_its_own_role() -> None:
    recording = node()
    machine = recording.named("autoscaler-1")
    assert machine.inputs["tags"] == ["prod", "prod-autoscaler"]
    assert machine.inputs["image"] == "103"
    assert {"firewall-autoscaler", "tag-prod-autoscaler"} <= recording.upstream("autoscaler-1")
    written = yaml.safe_load(user_data(recording, "autoscaler-1"))["write_files"]
    (text,) = [file["content"] for file in written if file["path"].endswith("machine.json")]
    assert MachineConfig.from_json(text).role == "autoscaler"
    assert [rule.port for rule in MachineConfig.from_json(text).inbound] == [22]


def test_there_are_never_two_controllers() -> None:
    assert node().named("autoscaler-1").delete_before_replace


def test_the_members_let_it_ask_them_and_the_database_lets_it_in() -> None:
    recording = node()
    rules = {
        rule["portRange"]: rule.get("sourceTags", [])
        for name in ("firewall-web", "firewall-database")
        for rule in recording.named(name).inputs["inboundRules"]
    }
    for number in ("443", "8101", "3306"):
        assert "prod-autoscaler" in rules[number], number
    assert "prod-autoscaler" not in rules["8102"]


def test_the_tag_of_its_members_is_there_before_it() -> None:
    assert "tag-prod-burst" in node().names()


@pytest.mark.parametrize(
    "changes",
    [
        {"max": 12},
        {"schedules": [SCHEDULE]},
        {"target_cpu": 40},
        {"cooldown_seconds": 60},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_change_of_what_it_is_told_is_delivered_and_does_not_replace_it(changes: dict[str, Any]) -> None:
    before, after = node(), node(config_of(**changes))
    assert unchanging(before) == unchanging(after)
    assert bundle(before) != bundle(after)


def test_neither_count_nor_image_nor_drain_of_the_members_replaces_it() -> None:
    config = config_of()
    config["web"] |= {"count": 5, "size": "s-1vcpu-2gb", "drain": {"quiet_seconds": 1, "cap_seconds": 2}}
    config["web"]["image"] = "debian-13-x64"
    forced = {"force": ["autoscaler"]}
    assert unchanging(run(config | forced)) == unchanging(run(config_of() | forced))


def unchanging(recording: Recording) -> dict[str, Any]:
    """What a change of would make another machine, but for ids that a mocked cloud gives by chance."""
    inputs = recording.named("autoscaler-1").inputs
    return {key: value for key, value in inputs.items() if key not in ("vpcUuid", "sshKeys")}


def test_the_controller_is_told_what_the_config_says() -> None:
    recording = node(config_of(schedules=[SCHEDULE], cooldown_seconds=60))
    config = told(recording)
    assert (config.stack, config.domain, config.region) == ("prod", "www.foobar.com", "lon1")
    assert (config.count, config.max, config.target_cpu, config.cooldown_seconds) == (2, 10, 60, 60)
    (schedule,) = config.schedules
    assert (schedule.cron, schedule.timezone, schedule.members) == tuple(SCHEDULE.values())
    assert (config.drain.propagation, config.drain.quiet, config.drain.cap) == (300, 10, 120)
    assert config.edge.kind == "cloudflare"
    assert config.edge.zone == "foobar.com"
    assert config.host_keys == {slot: IDENTITY.host_key(slot).public_openssh for slot in ("web-1", "web-2")}
    assert config.vpc in {str(number) for number in range(1000, 1100)}


def test_without_an_edge_it_is_told_the_clouds_own_zone_and_needs_no_token_for_another() -> None:
    config = config_of() | {"edge": {"kind": "none", "zone": "foobar.com"}}
    del config["controllerEdgeToken"]
    recording = node(config)
    assert told(recording).edge.zone_id == ""
    assert secrets(recording).edge_token == ""


@pytest.mark.parametrize("slot", ["web-1", "web-2"])
def test_burst_members_are_born_as_members_in_slots_are(slot: str) -> None:
    """The two kinds may differ in name and host key only."""
    recording = node()
    burst = told(recording).burst
    machine = recording.named(slot)
    assert yaml.safe_load(burst.payload(slot, BurstKey.of(IDENTITY.host_key(slot)))) == yaml.safe_load(
        user_data(recording, slot)
    )
    assert (burst.image, burst.size) == (machine.inputs["image"], machine.inputs["size"])
    assert burst.tags == (*machine.inputs["tags"], "prod-burst")
    assert burst.ssh_keys == tuple(machine.inputs["sshKeys"])
    assert told(recording).vpc == machine.inputs["vpcUuid"]


def test_burst_members_are_handed_what_members_in_slots_are() -> None:
    recording = node()
    (delivery,) = secrets(recording).deliveries.values()
    assert delivery.content == recording.named("web-1-secrets").plain("stdin")
    assert delivery.laying == "receive"


def test_of_a_distributions_image_the_files_come_along() -> None:
    config = config_of() | {"web": good()["web"] | {"image": "debian-13-x64"}}
    recording = run(config | {"force": ["autoscaler"]})
    (delivery,) = secrets(recording).deliveries.values()
    assert delivery.laying == "install"


def test_during_a_rollout_in_parts_it_has_what_each_image_needs() -> None:
    world = World()
    world.images.append({**world.images[1], "id": 90, "name": "web-2026.11.20-aaaa"})
    config = config_of()
    config["web"]["rollout"] = {"partial": {"through": 1, "rest": "web-2026.11.20-aaaa"}}
    recording = node(config, world=world)
    assert set(secrets(recording).deliveries) == {"101", "90"}
    assert told(recording).burst.image == "101"


def test_it_knows_the_host_keys_of_all_burst_members_that_there_may_ever_be() -> None:
    keys = secrets(node()).burst_keys
    assert list(keys) == sorted(f"burst-{number}" for number in range(1, 11))
    assert keys["burst-7"].public_openssh == IDENTITY.host_key("burst-7").public_openssh


def test_it_is_told_of_a_rollout_only_when_that_is_through() -> None:
    upstream = node().upstream("autoscaler-1-secrets")
    assert {"web-canary", "web-2-dns"} <= upstream
    assert "web-1" not in node().upstream("autoscaler-1"), "the machine itself boots beside the members"


def test_its_gate_is_asked_again_when_it_is_told_something_else() -> None:
    first, second = (node(config_of(max=number)).named("autoscaler-1-gate") for number in (10, 12))
    assert first.inputs["triggers"] != second.inputs["triggers"]


def test_burst_members_are_told_what_changes_when_the_controller_knows_it_too() -> None:
    """An old user of the database goes at the end of an update, so they must know the new one before."""
    recording = node()
    told = recording.named("autoscaler-bursts")
    assert told.plain("stdin") == recording.named("web-1-secrets").plain("stdin")
    assert is_secret(told.inputs["stdin"])
    assert "tell --stack prod" in told.inputs["create"]
    assert recording.named("autoscaler-1-secrets").urn in told.dependencies
    assert told.plain("environment") == {"FLOTILLA_SEED": good()["seed"]}


def test_burst_members_of_a_distributions_image_are_not_handed_its_files_again() -> None:
    config = config_of() | {"web": good()["web"] | {"image": "debian-13-x64"}, "force": ["autoscaler"]}
    assert "archive" not in json.loads(run(config).named("autoscaler-bursts").plain("stdin"))


def test_what_it_made_is_swept_after_it_has_gone_and_before_what_that_needs() -> None:
    recording = node()
    sweep = recording.named("autoscaler-sweep")
    assert "create" not in sweep.inputs
    assert "sweep --stack prod" in sweep.inputs["delete"]
    assert sweep.urn in recording.named("autoscaler-1").dependencies
    assert {"firewall-web", "firewall-autoscaler", "network"} <= recording.upstream("autoscaler-sweep")


def test_the_node_boots_while_the_database_is_being_made() -> None:
    assert not [name for name in usual().upstream("autoscaler-1") if name.startswith("database")]


def test_the_sweep_is_handed_tokens_of_the_config_in_secret() -> None:
    sweep = node().named("autoscaler-sweep")
    assert "environment" not in sweep.inputs
    config = config_of() | {"digitalocean:token": "dop_v1_x"}
    sweep = node(config).named("autoscaler-sweep")
    assert is_secret(sweep.inputs["environment"])
    assert sweep.plain("environment") == {"DIGITALOCEAN_TOKEN": "dop_v1_x"}


def test_its_own_tokens_come_before_pulumis_and_those_before_the_environments() -> None:
    config = config_of()
    found = read(config, stack="prod", environment=TOKENS, secret=ALL_SECRET).controller
    assert found is not None
    assert (found.cloud, found.edge) == ("cloud-token-0", "edge-token-0")
    for key in OWN_TOKENS:
        del config[key]
    config["digitalocean:token"] = "pulumis"
    found = read(config, stack="prod", environment=TOKENS, secret=ALL_SECRET).controller
    assert found is not None
    assert (found.cloud, found.edge) == ("pulumis", "edge")


ALL_SECRET = frozenset({"flotilla:seed", *(f"flotilla:{key}" for key in OWN_TOKENS), "digitalocean:token"})


def test_a_missing_token_is_named_with_both_ways_to_give_it() -> None:
    config = config_of()
    for key in OWN_TOKENS:
        del config[key]
    lines = mistakes(config, stack="prod")
    assert [line.split()[0] for line in lines] == [f"flotilla:{key}" for key in OWN_TOKENS]
    assert "`pulumi config set --secret flotilla:controllerCloudToken`" in lines[0]
    assert "DIGITALOCEAN_TOKEN in the environment" in lines[0]


def test_no_token_or_key_is_in_plain_anywhere() -> None:
    for resource in node().resources:
        plain = json.dumps({key: value for key, value in resource.inputs.items() if not is_secret(value)})
        for text in (*OWN_TOKENS.values(), "PRIVATE KEY"):
            assert text not in plain, resource.name


def test_the_account_must_have_room_for_it() -> None:
    fleet = [droplet("database-1-aa"), droplet("web-1-bb"), droplet("web-2-cc")]
    config = config_of() | {"force": ["autoscaler"]}
    config["autoscaler"] = AUTOSCALER | {"max": 2}
    assert run(config, world=World(droplet_limit=4, droplets=fleet))
    (line,) = refused(config, world=World(droplet_limit=3, droplets=fleet))
    assert "1 for new slots" in line


def test_the_account_must_have_room_for_all_that_it_may_make() -> None:
    (line,) = refused(config_of(), stack="prod", world=World(droplet_limit=11))
    assert line.startswith("flotilla:autoscaler.max = 10: with the 2 other machines of the stack that is 12")
    assert line.endswith("or give 9 or less")


WRONG = [
    ({"max": 1}, "flotilla:autoscaler.max = 1: is less than the 2 members of web.count", "2 or more"),
    ({"image": "web-2026.11.21-3f2a"}, 'flotilla:autoscaler.image = "web-', "fleet bake autoscaler"),
    (
        {"image": "debian-13-x64"},
        'flotilla:autoscaler.image = "debian-13-x64": production',
        "fleet bake autoscaler",
    ),
    ({"target_cpu": 0}, "flotilla:autoscaler.target_cpu = 0", "1 to 100"),
    ({"cooldown_seconds": -1}, "flotilla:autoscaler.cooldown_seconds = -1", "0 to 3600"),
    (
        {"schedules": [SCHEDULE | {"members": 11}]},
        "flotilla:autoscaler.schedules[0].members = 11",
        "2 (web.count) to 10 (autoscaler.max)",
    ),
    ({"schedules": [SCHEDULE | {"members": 1}]}, "flotilla:autoscaler.schedules[0].members = 1", "between"),
    (
        {"schedules": [SCHEDULE, SCHEDULE | {"cron": "61 * * * *"}]},
        "flotilla:autoscaler.schedules[1]: schedule '61 * * * *'",
        "0 to 59",
    ),
    (
        {"schedules": [SCHEDULE | {"cron": "0 0 31 2 *"}]},
        "flotilla:autoscaler.schedules[0]: schedule '0 0 31 2 *' in Europe/London never fires",
        "",
    ),
    (
        {"schedules": [SCHEDULE | {"timezone": "Europe/Lundon"}]},
        "flotilla:autoscaler.schedules[0]: time zone 'Europe/Lundon' is not known",
        "such as Europe/London",
    ),
    (
        {"schedules": [{"cron": "0 8 * * *"}]},
        "flotilla:autoscaler.schedules[0].members is missing",
        "for example 5",
    ),
    (
        {"schedules": [SCHEDULE | {"member": 5}]},
        "flotilla:autoscaler.schedules[0].member is not a known key",
        "did you mean members?",
    ),
]


@pytest.mark.parametrize(("changes", "names", "fix"), WRONG, ids=[names for _, names, _ in WRONG])
def test_a_mistake_is_one_line_with_key_value_and_fix(changes: dict[str, Any], names: str, fix: str) -> None:
    (line,) = mistakes(config_of(**changes), stack="prod", secret=ALL_SECRET)
    assert line.startswith(names)
    assert fix in line


def test_burst_members_count_for_the_networks_size() -> None:
    config = config_of(max=9) | {"cloud": good()["cloud"] | {"network": "10.20.0.0/28"}}
    (line,) = mistakes(config, stack="prod", secret=ALL_SECRET)
    assert "beside 7 burst members needs 13" in line
    assert read(config | {"autoscaler": AUTOSCALER | {"max": 8}}, stack="prod", secret=ALL_SECRET)


def test_without_the_section_there_is_nothing_of_it() -> None:
    names = run().names()
    assert not [name for name in names if "autoscaler" in name or "burst" in name]
