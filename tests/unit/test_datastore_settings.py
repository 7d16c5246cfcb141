"""What bundle and machine.json say about the datastore; bundles from before it stay readable, byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fleet.config import (
    Bundle,
    ConfigError,
    DatabaseSettings,
    DatastoreSettings,
    Inbound,
    MachineConfig,
    Settings,
)
from fleet.identity import Identity
from tests.unit.fake_machine import WEB
from tests.unit.test_receive import WEB_BUNDLE

STORE = DatastoreSettings(
    endpoint="https://lon1.digitaloceanspaces.com", bucket="datastore-1a2b3c4", region="lon1"
)
KEYS = {"datastore-access-key": "DO00ACCESS", "datastore-secret-key": "hush"}
BUNDLE = Bundle(
    settings=replace(WEB_BUNDLE.settings, datastore=STORE), secrets={**WEB_BUNDLE.secrets, **KEYS}
)


def test_a_bundle_with_a_datastore_survives_json() -> None:
    assert Bundle.from_json(BUNDLE.to_json(), "web") == BUNDLE


def test_without_a_datastore_the_text_is_as_older_images_read_it() -> None:
    assert "datastore" not in WEB_BUNDLE.to_json()
    assert "datastore" not in WEB_BUNDLE.settings.to_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"endpoint": "http://lon1.digitaloceanspaces.com"}, "settings.datastore.endpoint"),
        ({"endpoint": "https://lon1.digitaloceanspaces.com/x"}, "settings.datastore.endpoint"),
        ({"endpoint": "https://user@lon1.example"}, "settings.datastore.endpoint"),
        ({"bucket": "../x"}, "settings.datastore.bucket"),
        ({"bucket": "ab"}, "settings.datastore.bucket"),
        ({"region": "LON1"}, "settings.datastore.region"),
        ({"key": "x"}, "unknown key 'key'"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, str], message: str) -> None:
    document: dict[str, Any] = json.loads(BUNDLE.to_json())
    document["settings"]["datastore"] |= changes
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        Bundle.from_json(json.dumps(document), "web")


@pytest.mark.parametrize("name", KEYS)
def test_a_datastore_needs_both_keys(name: str) -> None:
    secrets = {key: value for key, value in BUNDLE.secrets.items() if key != name}
    with pytest.raises(ConfigError, match=f"{name} missing"):
        Bundle.from_json(replace(BUNDLE, secrets=secrets).to_json(), "web")


def test_a_database_machine_takes_a_datastore_too() -> None:
    settings = Settings(
        database=DatabaseSettings(engine="mysql", host="10.20.0.5", port=3306, name="a", user="a")
    )
    pems = {
        "database-ca.pem": "CERTIFICATE",
        "database-server.crt": "CERTIFICATE",
        "database-server.key": "PRIVATE KEY",
    }
    blocks = {name: f"-----BEGIN {label}-----\nMIIB\n-----END {label}-----\n" for name, label in pems.items()}
    bundle = Bundle(
        settings=replace(settings, datastore=STORE), secrets={"database-password": "x", **blocks, **KEYS}
    )
    assert Bundle.from_json(bundle.to_json(), "database") == bundle


def test_a_port_can_be_for_the_machines_of_a_role() -> None:
    machine = replace(
        WEB, inbound=(Inbound(protocol="tcp", port=8101, sources=("role:web", "role:autoscaler")),)
    )
    assert MachineConfig.from_json(machine.to_json()) == machine


@pytest.mark.parametrize("source", ["role:", "role:Web", "role:a b", "role:web;", "web"])
def test_what_is_no_role_is_refused(source: str) -> None:
    machine = replace(WEB, inbound=(Inbound(protocol="tcp", port=8101, sources=(source,)),))
    with pytest.raises(ConfigError, match="not a network"):
        MachineConfig.from_json(machine.to_json())


def test_the_seal_key_follows_from_the_seed() -> None:
    one, other = (Identity(bytes([number]) * 32) for number in (1, 2))
    assert one.seal_key() == Identity(bytes([1]) * 32).seal_key()
    assert one.seal_key() not in (other.seal_key(), one.password("datastore-seal"))
