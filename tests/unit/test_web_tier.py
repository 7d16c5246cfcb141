"""The web tier: what a slot is made of, in which order things happen, and what stays the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudinit import release
from components.preflight import BootImage
from fleet import commands
from tests import harness
from tests.harness import Recording, deploy, is_secret, reveal
from tests.unit import tiers
from tests.unit.tiers import (
    DISTRIBUTION,
    DROPLET,
    IDENTITY,
    LOCAL,
    REMOTE,
    make_firewall,
    make_site,
    make_web,
)


def web(**changes: Any) -> Recording:
    return deploy(lambda: make_web(make_site(), **changes))


def user_data(recording: Recording, slot: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(recording.named(slot).plain("userData"))
    return document


def test_a_slot_is_a_machine_secrets_a_gate_a_drain_and_a_record() -> None:
    recording = web(count=2)
    (tier,) = recording.of_type("flotilla:index:WebTier")
    children = {
        resource.name: resource.type for resource in recording.resources if resource.parent == tier.urn
    }
    for slot in ("web-1", "web-2"):
        assert children[slot] == DROPLET
        assert children[f"{slot}-secrets"] == REMOTE
        assert children[f"{slot}-gate"] == REMOTE
        assert children[f"{slot}-drain"] == LOCAL
        assert children[f"{slot}-dns"] == "digitalocean:index/dnsRecord:DnsRecord"
    assert children["web-peers"] == children["web-canary"] == LOCAL
    assert len(children) == 12


def test_no_machine_is_named_by_hand() -> None:
    assert "name" not in web().named("web-1").inputs


def test_a_machine_carries_the_tags_of_stack_and_role() -> None:
    assert web().named("web-1").inputs["tags"] == ["dev", "dev-web"]


def test_a_machine_is_in_the_network_watched_and_without_an_agent() -> None:
    recording = web()
    inputs = recording.named("web-1").inputs
    assert recording.named("network").urn in recording.named("web-1").property_dependencies["vpcUuid"]
    assert inputs["monitoring"] is True
    assert inputs["dropletAgent"] is False


def test_each_step_of_a_slot_waits_for_the_one_before() -> None:
    recording = web()
    for step, before in (
        ("web-2-dns", "web-2-drain"),
        ("web-2-drain", "web-2-gate"),
        ("web-2-gate", "web-2-secrets"),
        ("web-2-secrets", "web-2"),
    ):
        assert recording.named(before).urn in recording.named(step).dependencies


def test_only_the_records_are_chained_from_slot_to_slot() -> None:
    recording = web(count=3)
    assert recording.named("web-1-dns").urn in recording.named("web-canary").dependencies
    assert recording.named("web-canary").urn in recording.named("web-2-dns").dependencies
    assert recording.named("web-2-dns").urn in recording.named("web-3-dns").dependencies
    for step in ("web-3", "web-3-secrets", "web-3-gate", "web-3-drain"):
        assert not {name for name in recording.upstream(step) if name.startswith(("web-1", "web-2"))}


def test_every_gate_and_the_news_of_the_members_come_before_the_first_switch() -> None:
    recording = web(count=3)
    gates = {f"web-{number}-gate" for number in (1, 2, 3)}
    assert gates <= recording.upstream("web-peers")
    assert recording.named("web-peers").urn in recording.named("web-1-dns").dependencies
    assert not {name for name in recording.upstream("web-peers") if name.endswith("-dns")}


@pytest.mark.parametrize("order", [{"count": 1}, {"canary_seconds": 0}])
def test_without_a_canary_the_records_are_chained_all_the_same(order: dict[str, int]) -> None:
    recording = web(**order)
    assert "web-canary" not in recording.names()
    if "web-2-dns" in recording.names():
        assert recording.named("web-1-dns").urn in recording.named("web-2-dns").dependencies


def test_in_place_a_slot_waits_for_the_switch_of_the_one_before() -> None:
    recording = web(count=3, mode="in_place")
    assert recording.named("web-canary").urn in recording.named("web-2").dependencies
    assert recording.named("web-2-dns").urn in recording.named("web-3").dependencies
    first = {"web-1", "web-1-secrets", "web-1-gate", "web-1-drain", "web-1-dns"}
    assert {name for name in recording.upstream("web-1-dns") if name.startswith("web-")} < first
    assert {"web-3-gate"} <= recording.upstream("web-peers")


def test_in_place_a_machine_goes_before_its_successor_comes() -> None:
    recording = web(mode="in_place")
    first = {resource.name for resource in recording.resources if resource.delete_before_replace}
    assert first == {f"web-{number}{child}" for number in (1, 2, 3) for child in ("", "-drain", "-dns")}


@pytest.mark.parametrize("mode", ["surge", "in_place"])
def test_a_record_goes_before_a_machine_that_makes_room_for_its_successor(mode: str) -> None:
    """The engine deletes first what a change of the machine would replace; that is seen by the record's type, in each
    mode, as it asks what the update before has said."""
    recording = web(mode=mode)
    record = recording.named("web-1-dns")
    assert record.replace_on_changes == ("type",)
    assert recording.named("web-1").urn in record.property_dependencies["type"]


def test_a_renamed_record_is_given_its_name_back_in_place() -> None:
    """A controller renames the record of a dead member; the same record must come back, without a gap."""
    recording = web()
    assert recording.named("web-1").urn not in recording.named("web-1-dns").property_dependencies.get(
        "name", []
    )


def test_a_partial_rollout_leaves_the_later_slots_on_their_image() -> None:
    recording = web(count=3, through=1, rest=BootImage(id="100", from_scratch=False))
    assert [recording.named(f"web-{number}").inputs["image"] for number in (1, 2, 3)] == ["101", "100", "100"]


def test_the_members_are_told_of_each_other_by_standard_input() -> None:
    recording = web(count=2)
    peers = recording.named("web-peers")
    assert is_secret(peers.inputs["stdin"])
    told = json.loads(peers.plain("stdin"))
    assert told["deploy_key"] == IDENTITY.deploy_key().private_openssh
    assert told["members"]["web-2"] == {
        "address": recording.named("web-2-dns").inputs["value"],
        "private_address": told["members"]["web-2"]["private_address"],
        "host_key": IDENTITY.host_key("web-2").public_openssh,
    }
    assert told["members"]["web-2"]["private_address"].startswith("10.20.")
    assert len(peers.inputs["triggers"]) == 2
    assert "peers; else exec fleet peers; fi" in peers.inputs["create"]


def test_the_canary_is_watched_again_only_when_it_is_another_machine() -> None:
    small, large = web(count=2).named("web-canary"), web(count=3).named("web-canary")
    assert small.inputs.keys() == large.inputs.keys()
    assert len(large.inputs["triggers"]) == 1
    assert large.inputs["update"] == ":"
    assert "canary --stack dev --slot web-1 --seconds 30 --propagation 300" in large.inputs["create"]
    assert large.plain("environment")["FLOTILLA_SEED"] == IDENTITY.seed_base64
    assert is_secret(large.inputs["environment"])
    assert "DIGITALOCEAN_TOKEN" not in large.plain("environment")


def test_the_canary_gets_the_clouds_token_where_the_config_has_it() -> None:
    canary = web(cloud_token="dop_v1_x").named("web-canary")
    assert canary.plain("environment")["DIGITALOCEAN_TOKEN"] == "dop_v1_x"


def test_members_wait_for_the_database_only_when_they_need_it() -> None:
    recording = web()
    assert "ready" in recording.upstream("web-1-secrets")
    assert "ready" not in recording.upstream("web-1")


def test_machines_wait_for_the_firewall_and_the_tags() -> None:
    def program() -> None:
        site = make_site()
        make_web(site, after=list(make_firewall(site).native.values()))

    upstream = deploy(program).upstream("web-1")
    assert {"firewall-web", "tag-dev", "tag-dev-web"} <= upstream


def test_growth_changes_nothing_of_the_slots_that_are_there() -> None:
    small, large = web(count=2), web(count=4)
    for name in small.names():
        if name.startswith("web-"):
            assert large.named(name).urn == small.named(name).urn
            assert large.named(name).inputs.keys() == small.named(name).inputs.keys()
    for slot in ("web-1", "web-2"):
        assert large.named(slot).plain("userData") == small.named(slot).plain("userData")


def test_a_new_size_replaces_the_machine_instead_of_powering_it_off() -> None:
    assert web().named("web-1").replace_on_changes == ("size",)


def test_replacements_come_before_the_machines_they_replace() -> None:
    first = {resource.name for resource in web(count=2).resources if resource.delete_before_replace}
    assert first == {"web-1-dns", "web-2-dns"}, "a new machine only changes what a record says"


def test_user_data_is_secret_and_the_same_in_every_run() -> None:
    first, second = web(), web()
    assert is_secret(first.named("web-1").inputs["userData"])
    assert first.named("web-1").plain("userData") == second.named("web-1").plain("userData")


def test_user_data_says_who_the_machine_is() -> None:
    document = user_data(web(), "web-2")
    assert document["hostname"] == "web-2"
    assert document["ssh_keys"]["ed25519_public"].startswith("ssh-ed25519 ")
    assert document["ssh_authorized_keys"] == [IDENTITY.deploy_key().public_openssh, "ssh-ed25519 AAAA me"]


def test_user_data_holds_no_secret_but_the_slots_host_key() -> None:
    recording = web()
    text = recording.named("web-1").plain("userData")
    bundle = json.loads(recording.named("web-1-secrets").plain("stdin"))
    for secret in bundle["secrets"].values():
        assert secret.strip() not in text
        assert secret.strip().splitlines()[-1 if "\n" not in secret else 1] not in text
    assert "".join(IDENTITY.deploy_key().private_openssh.split()) not in "".join(text.split())
    assert text.count("PRIVATE KEY-----") == 2  # begin and end of the host key


def test_every_connection_pins_the_slots_host_key() -> None:
    recording = web(count=2)
    for command in recording.of_type(REMOTE):
        slot = "-".join(command.name.split("-")[:2])
        connection = command.plain("connection")
        assert connection["hostKey"] == IDENTITY.host_key(slot).public_openssh
        assert connection["user"] == "root"
        assert connection["dialErrorLimit"] == 60
        assert is_secret(command.inputs["connection"])


def test_secrets_travel_on_standard_input_and_are_never_logged() -> None:
    secrets = web().named("web-1-secrets")
    assert is_secret(secrets.inputs["stdin"])
    assert secrets.inputs["create"] == commands.RECEIVE
    assert secrets.inputs["logging"] == "none"
    assert {"stdout", "stderr"} <= set(secrets.additional_secret_outputs)


def test_every_member_gets_the_same_bundle() -> None:
    recording = web(count=3)
    bundles = {recording.named(f"web-{number}-secrets").plain("stdin") for number in (1, 2, 3)}
    (bundle,) = map(json.loads, bundles)
    assert bundle["settings"]["database"]["host"] == "10.20.0.9"
    assert bundle["settings"]["edge_ranges"] == list(tiers.EDGE_RANGES)
    assert bundle["settings"]["server_names"] == ["www.foobar.com"]


def test_the_gate_runs_again_for_another_machine_and_for_other_secrets() -> None:
    recording = web()
    machine, digest = recording.named("web-1-gate").inputs["triggers"]
    assert recording.named("web-1").urn in recording.named("web-1-gate").property_dependencies["triggers"]
    assert machine
    assert len(digest) == 64


def test_a_drain_does_nothing_until_it_is_deleted() -> None:
    drain = web().named("web-1-drain")
    assert "create" not in drain.inputs
    assert "update" not in drain.inputs
    assert "drain" in drain.inputs["delete"]
    assert "--propagation 300 --quiet 10 --cap 120" in drain.inputs["delete"]


def test_a_drain_has_its_keys_from_the_environment_and_none_in_its_command() -> None:
    drain = web().named("web-1-drain")
    environment = drain.plain("environment")
    assert environment["FLOTILLA_DEPLOY_KEY"] == IDENTITY.deploy_key().private_openssh
    assert environment["FLOTILLA_HOST_KEY"] == IDENTITY.host_key("web-1").public_openssh
    assert is_secret(drain.inputs["environment"])
    assert "PRIVATE KEY" not in drain.inputs["delete"]
    assert "ssh-ed25519" not in drain.inputs["delete"]


def test_a_record_names_the_members_public_address() -> None:
    record = web().named("web-1-dns")
    assert record.inputs["name"] == "www"
    assert record.inputs["ttl"] == 60
    assert record.inputs["value"].startswith("198.18.")


def test_without_ipv6_there_is_one_record_and_no_second_address() -> None:
    recording = web()
    assert recording.named("web-1").inputs["ipv6"] is False
    assert not [name for name in recording.names() if name.endswith("-dns6")]


def test_with_ipv6_a_slot_has_both_records_and_both_go_before_the_drain() -> None:
    recording = deploy(lambda: make_web(make_site(ipv6=True)))
    assert recording.named("web-1").inputs["ipv6"] is True
    record = recording.named("web-1-dns6")
    assert record.inputs["type"] == "AAAA"
    assert record.inputs["value"].startswith("2001:db8::")
    assert recording.named("web-1-drain").urn in record.dependencies
    assert recording.named("web-1-dns6").urn in recording.named("web-canary").dependencies
    assert {"web-2-dns", "web-2-dns6"} <= recording.upstream("web-3-dns")


def test_members_are_told_by_name() -> None:
    kept = tiers.Kept()

    def program() -> None:
        make_web(make_site(), count=2).members.apply(lambda members: setattr(kept, "value", members))

    recording = deploy(program)
    addresses = {slot: recording.named(f"{slot}-dns").inputs["value"] for slot in ("web-1", "web-2")}
    assert kept.value == addresses


def test_a_distributions_image_gets_its_files_with_the_secrets(tmp_path: Path) -> None:
    (tmp_path / "site.py").write_text("app = None\n")
    site = release.from_directory(tmp_path, "site:app")
    recording = web(count=2, image=DISTRIBUTION, release=site)
    secrets = recording.named("web-1-secrets")
    assert secrets.inputs["create"] == commands.INSTALL_AND_RECEIVE
    assert set(json.loads(secrets.plain("stdin"))) == {"archive", "bundle"}
    assert "nginx" in user_data(recording, "web-1")["packages"]


def test_a_golden_images_first_boot_installs_nothing() -> None:
    assert "packages" not in user_data(web(), "web-1")


def test_a_tier_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        web(count=0)


def test_the_first_plan_knows_all_that_can_be_known() -> None:
    recording = deploy(lambda: make_web(make_site()), preview=True)
    assert reveal(recording.named("web-1").inputs["userData"]).startswith("#cloud-config\n")
    assert recording.named("web-3-dns").name == "web-3-dns"
    assert recording.named("web-1").inputs["region"] == harness.REGION
