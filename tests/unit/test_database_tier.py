"""The self-hosted database: its data outlives its machine, and its members can trust it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from cryptography import x509

from components.model import Engine
from fleet import commands
from tests.harness import Recording, deploy, is_secret
from tests.unit.tiers import DISTRIBUTION, make_database, make_firewall, make_site


def database(engine: Engine = "mysql", **changes: Any) -> Recording:
    return deploy(lambda: make_database(make_site(engine), **changes))


def test_the_data_has_a_volume_of_its_own_from_the_machines_birth() -> None:
    recording = database()
    volume, machine = recording.named("database-1-data"), recording.named("database-1")
    assert volume.inputs["size"] == 10
    assert machine.property_dependencies["volumeIds"] == {volume.urn}


def test_the_old_machine_lets_go_of_the_volume_before_the_new_one_comes() -> None:
    recording = database()
    assert recording.named("database-1").delete_before_replace
    assert not recording.named("database-1-data").delete_before_replace


@pytest.mark.parametrize("protect", [True, False])
def test_only_the_data_is_protected(protect: bool) -> None:
    recording = database(protect_data=protect)
    assert recording.named("database-1-data").protect is protect
    assert recording.named("database-1").protect is False


def test_neither_machine_nor_volume_is_named_by_hand() -> None:
    recording = database()
    assert "name" not in recording.named("database-1").inputs
    assert "name" not in recording.named("database-1-data").inputs


def test_the_machine_is_told_its_volumes_name() -> None:
    document = yaml.safe_load(database().named("database-1").plain("userData"))
    (machine,) = [file for file in document["write_files"] if file["path"].endswith("machine.json")]
    assert json.loads(machine["content"])["volume"] == "database-1-data-0a1b2c3"


def test_user_data_is_secret() -> None:
    assert is_secret(database().named("database-1").inputs["userData"])


def test_secrets_come_before_the_gate() -> None:
    recording = database()
    assert recording.named("database-1-secrets").urn in recording.named("database-1-gate").dependencies


def test_the_machine_waits_for_its_firewall_and_tags() -> None:
    def program() -> None:
        site = make_site()
        make_database(site, after=list(make_firewall(site).native.values()))

    assert {"firewall-database", "tag-dev", "tag-dev-database"} <= deploy(program).upstream("database-1")


@pytest.mark.parametrize(("engine", "port"), [("mysql", 3306), ("postgresql", 5432)])
def test_the_port_follows_the_engine(engine: Engine, port: int) -> None:
    secrets = database(engine).named("database-1-secrets")
    told = json.loads(secrets.plain("stdin"))["settings"]["database"]
    assert (told["engine"], told["port"]) == (engine, port)


def test_the_certificate_holds_the_address_that_members_connect_to() -> None:
    secrets = database().named("database-1-secrets")
    bundle = json.loads(secrets.plain("stdin"))
    certificate = x509.load_pem_x509_certificate(bundle["secrets"]["database-server.crt"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == [
        bundle["settings"]["database"]["host"]
    ]
    authority = x509.load_pem_x509_certificate(bundle["secrets"]["database-ca.pem"].encode())
    certificate.verify_directly_issued_by(authority)


def test_a_distributions_image_gets_its_files_with_the_secrets() -> None:
    recording = database(image=DISTRIBUTION)
    assert recording.named("database-1-secrets").inputs["create"] == commands.INSTALL_AND_RECEIVE
    assert "mariadb-server" in yaml.safe_load(recording.named("database-1").plain("userData"))["packages"]


def test_the_first_plan_does_not_need_what_is_not_there_yet() -> None:
    recording = deploy(lambda: make_database(make_site()), preview=True)
    assert recording.named("database-1-gate").name == "database-1-gate"
