"""What the controller is told: read strictly, and burst members start from the very payload of a slot."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from cloudinit import roles
from fleet.config import CONTROLLER_CONFIG, CONTROLLER_SECRETS, EDGE, Bundle, ConfigError, Inbound, Settings
from fleet.controller.config import (
    BLANK_KEY,
    BLANK_SLOT,
    Burst,
    BurstKey,
    ControllerConfig,
    ControllerSecrets,
    Delivery,
    Drain,
    Edge,
    Schedule,
    UnknownVersionError,
)
from fleet.identity import Identity, SshKeyPair

IDENTITY = Identity.from_seed(base64.b64encode(bytes(range(32))).decode())
SSH = Inbound(protocol="tcp", port=22, sources=("203.0.113.7/32", "10.20.0.0/20"))
HTTPS = Inbound(protocol="tcp", port=443, sources=(EDGE,))


def rendered(slot: str, host_key: SshKeyPair | BurstKey) -> str:
    return roles.web.boot(
        roles.WebMachine(
            stack="prod",
            slot=slot,
            network="10.20.0.0/20",
            inbound=(SSH, HTTPS),
            host_key=host_key,
            authorized_keys=(IDENTITY.deploy_key().public_openssh,),
        )
    )


def config(**changes: Any) -> ControllerConfig:
    plain = ControllerConfig(
        stack="prod",
        domain="www.foobar.com",
        region="lon1",
        vpc="5a4981aa-9653-4bd1-bef5-d6bff52042e4",
        network="10.20.0.0/20",
        count=2,
        max=5,
        cooldown_seconds=300,
        drain=Drain(propagation=300, quiet=10, cap=120),
        edge=Edge(kind="cloudflare", zone="foobar.com", zone_id="0" * 32),
        burst=Burst(
            image="150000001",
            size="s-1vcpu-1gb",
            ssh_keys=("512189",),
            tags=("prod", "prod-web", "prod-burst"),
            user_data=rendered(BLANK_SLOT, BLANK_KEY),
        ),
        host_keys={f"web-{number}": IDENTITY.host_key(f"web-{number}").public_openssh for number in (1, 2)},
        schedules=(Schedule(cron="0 8 * * 1-5", members=4, timezone="Europe/London"),),
        target_cpu=60,
    )
    return replace(plain, **changes)


def secrets() -> ControllerSecrets:
    return ControllerSecrets(
        cloud_token="dop_v1_secret",
        edge_token="edge_secret",
        deploy_key=IDENTITY.deploy_key().private_openssh,
        deliveries={"150000001": Delivery(laying="receive", content='{"settings":{}}')},
        burst_keys={
            f"burst-{number}": BurstKey.of(IDENTITY.host_key(f"burst-{number}")) for number in (1, 2)
        },
    )


def changed(text: str, **changes: Any) -> str:
    return json.dumps({**json.loads(text), **changes})


def test_both_come_back_as_they_were_written() -> None:
    assert ControllerConfig.from_json(config().to_json()) == config()
    assert ControllerSecrets.from_json(secrets().to_json()) == secrets()
    assert ControllerConfig.from_json(config(target_cpu=None, schedules=()).to_json()).target_cpu is None


@pytest.mark.parametrize("slot", ["burst-1", "burst-12", "burst-998"])
def test_a_burst_member_differs_from_a_slot_by_name_and_host_key_only(slot: str) -> None:
    key = IDENTITY.host_key(slot)
    filled = config().burst.payload(slot, BurstKey.of(key))
    assert yaml.safe_load(filled) == yaml.safe_load(rendered(slot, key))
    own = yaml.safe_load(rendered("web-1", IDENTITY.host_key("web-1")))
    differing = {name for name, value in yaml.safe_load(filled).items() if value != own[name]}
    assert differing == {"hostname", "ssh_keys", "write_files"}
    files = [yaml.safe_load(text)["write_files"] for text in (filled, rendered("web-1", key))]
    (here, there) = (json.loads(each[0]["content"]) for each in files)
    assert {name for name in here if here[name] != there[name]} == {"slot"}
    assert files[0][1:] == files[1][1:]


def test_the_payload_of_a_distributions_image_is_filled_in_as_well() -> None:
    from tests.unit.test_payload import release

    def scratch(slot: str, key: SshKeyPair | BurstKey) -> str:
        return roles.web.boot(
            roles.WebMachine(
                stack="prod",
                slot=slot,
                network="10.20.0.0/20",
                inbound=(SSH, HTTPS),
                host_key=key,
                authorized_keys=(IDENTITY.deploy_key().public_openssh,),
                from_scratch=roles.WebImage(release=release()),
            )
        )

    burst = replace(config().burst, user_data=scratch(BLANK_SLOT, BLANK_KEY))
    key = IDENTITY.host_key("burst-3")
    assert yaml.safe_load(burst.payload("burst-3", key)) == yaml.safe_load(scratch("burst-3", key))


def test_the_places_beyond_the_slots() -> None:
    assert config().burst_slots() == ("burst-1", "burst-2", "burst-3")
    assert config(max=2).burst_slots() == ()
    assert config(max=1).burst_slots() == ()


@pytest.mark.parametrize("version", [2, None, "1"])
def test_another_version_is_told_from_a_mistake(version: object) -> None:
    with pytest.raises(UnknownVersionError, match=r"config\.version is .* reads version 1"):
        ControllerConfig.from_json(changed(config().to_json(), version=version))
    with pytest.raises(UnknownVersionError, match=r"secrets\.version"):
        ControllerSecrets.from_json(changed(secrets().to_json(), version=version))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"count": 0}, r"config\.count must be a whole number from 1"),
        ({"count": True}, r"config\.count must be a whole number"),
        ({"max": 1001}, r"config\.max must be"),
        ({"target_cpu": 101}, r"config\.target_cpu must be"),
        ({"surprise": 1}, r"unknown key 'surprise'"),
        ({"domain": "WWW.foobar.com"}, r"config\.domain"),
        ({"edge": {"kind": "cloudflare", "zone": "foobar.com"}}, r"zone_id is '' with kind cloudflare"),
        ({"host_keys": {"web-1": "ssh-rsa AAAA"}}, r"config\.host_keys\.web-1 is not a public ed25519 key"),
        ({"host_keys": {"../web": "x"}}, r"which is no slot's"),
        ({"schedules": [{"cron": "0 8 * * *", "members": 0}]}, r"schedules\[0\]\.members must be"),
        ({"drain": {"propagation": -1, "quiet": 1, "cap": 1}}, r"config\.drain\.propagation"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ControllerConfig.from_json(changed(config().to_json(), **change))


def test_a_payload_that_is_not_blank_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a payload rendered for the slot"):
        ControllerConfig.from_json(
            replace(
                config(),
                burst=replace(config().burst, user_data=rendered("web-1", IDENTITY.host_key("web-1"))),
            ).to_json()
        )


def test_secrets_are_shown_nowhere() -> None:
    shown = f"{secrets()!r} {config()!r}"
    assert "secret" not in shown.replace("ControllerSecrets", "")
    assert "PRIVATE KEY" not in shown
    with pytest.raises(ConfigError) as error:
        ControllerSecrets.from_json(changed(secrets().to_json(), cloud_token=["dop_v1_secret"]))
    assert "dop_v1" not in str(error.value)


def test_both_travel_in_the_nodes_bundle() -> None:
    texts = {CONTROLLER_CONFIG: config().to_json(), CONTROLLER_SECRETS: secrets().to_json()}
    bundle = Bundle(settings=Settings(), secrets=texts)
    assert Bundle.from_json(bundle.to_json(), "autoscaler") == bundle
    with pytest.raises(ConfigError, match=rf"{CONTROLLER_SECRETS} missing for role autoscaler"):
        Bundle.from_json(
            replace(bundle, secrets={CONTROLLER_CONFIG: config().to_json()}).to_json(), "autoscaler"
        )
    with pytest.raises(ConfigError, match=rf"bundle\.secrets\.{CONTROLLER_CONFIG} is not JSON"):
        Bundle.from_json(replace(bundle, secrets={**texts, CONTROLLER_CONFIG: "no"}).to_json(), "autoscaler")
    with pytest.raises(ConfigError, match=r"unknown name 'controller"):
        Bundle.from_json(replace(bundle, settings=Settings(server_names=("a.b",))).to_json(), "web")
