"""`fleet datastore`: the bucket by the state, the verbs, what is refused, and credentials that stay on machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fleet import members, stack_datastore
from fleet import status as standing
from fleet.cli import app
from fleet.config import ConfigError
from fleet.datastore import DATABASE_CREDENTIAL, RECORDS
from fleet.datastore_verbs import refuse
from fleet.desk import datastore
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.machine.datastore_seal import seal
from fleet.members import Machine
from tests.small_s3 import BUCKET, KEYS, SmallS3, small_s3
from tests.unit.test_datastore_view import OTHER, OWN

SEED = Identity(bytes(32))


def resource(kind: str, name: str, /, **outputs: str) -> dict[str, Any]:
    return {"type": kind, "urn": f"urn:pulumi:prod::flotilla::{kind}::{name}", "outputs": outputs}


STATE: dict[str, Any] = {
    "deployment": {
        "resources": [
            resource("pulumi:pulumi:Stack", "flotilla-prod"),
            resource(stack_datastore.BUCKET_TYPE, "backups", name="other", region="ams3"),
            resource(stack_datastore.BUCKET_TYPE, "datastore", name=BUCKET, region="lon1"),
        ]
    }
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallS3]:
    cli = SimpleNamespace(
        export=lambda _: STATE,
        secret=lambda *_: SEED.seed_base64,
        project=SimpleNamespace(name="flotilla"),
    )
    monkeypatch.setattr(datastore, "pulumi_cli", lambda: cli)
    monkeypatch.setenv("SPACES_ACCESS_KEY_ID", KEYS.access)
    monkeypatch.setenv("SPACES_SECRET_ACCESS_KEY", KEYS.secret)
    with small_s3() as store:
        monkeypatch.setenv("SPACES_ENDPOINT_URL", store.place.endpoint)
        yield store


def fleet(*arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["datastore", *arguments, "--stack", "prod"], input=given)


def test_the_bucket_is_the_one_of_the_state() -> None:
    place = stack_datastore.place(STATE, "prod", {})
    assert (place.endpoint, place.bucket, place.region) == (
        "https://lon1.digitaloceanspaces.com",
        BUCKET,
        "lon1",
    )


@pytest.mark.parametrize(
    "state", [{}, {"deployment": None}, {"deployment": {"resources": STATE["deployment"]["resources"][:2]}}]
)
def test_a_stack_without_a_datastore_says_so(state: Mapping[str, Any]) -> None:
    with pytest.raises(FleetError, match="stack prod has no datastore"):
        stack_datastore.place(state, "prod", {})


def test_without_a_key_its_variables_are_named() -> None:
    with pytest.raises(FleetError, match="SPACES_SECRET_ACCESS_KEY not set"):
        stack_datastore.keys({"SPACES_ACCESS_KEY_ID": "x"})


def test_put_get_list_and_delete(store: SmallS3, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"\x00one")
    assert fleet("put", "notes/a", "--file", str(content), "--if-absent").exit_code == 0
    assert isinstance(fleet("put", "notes/a", "--if-absent", given=b"two").exception, FleetError)
    etag = store.objects["notes/a"].etag
    assert (
        fleet("put", "notes/a", "--if-match", etag, given=b"two").output
        == f"{store.objects['notes/a'].etag}\n"
    )
    assert fleet("get", "notes/a").stdout_bytes == b"two"
    store.lay(OWN.key, OWN.to_json(), age=301)
    listed = json.loads(fleet("list", "--json").output)
    assert [(row["key"], row["state"], row["age_seconds"]) for row in listed] == [
        (OWN.key, "stale", 301.0),
        ("notes/a", "", 0.0),
    ]
    assert fleet("check", "notes/a").exit_code == 0
    assert fleet("delete", "notes/a").exit_code == 0
    for verb in ("delete", "check", "get"):
        assert isinstance(fleet(verb, "notes/a").exception, FleetError), verb


def test_check_names_what_machines_would_not_believe(store: SmallS3) -> None:
    store.lay(OWN.key, OWN.to_json())
    assert fleet("check").output.startswith("machines that speak: 1 web\n")
    store.lay(OTHER.key, b'{"version": 2}')
    said = fleet("check", "--json")
    assert isinstance(said.exception, FleetError)
    assert json.loads(said.output)["complaints"] == [
        f"'{OTHER.key}': its version is 2; this program reads version 1"
    ]


@pytest.mark.parametrize(
    ("key", "body", "message"),
    [
        (f"{RECORDS}web/web-1", b"hello", "not JSON"),
        (f"{RECORDS}web/web-9", OWN.to_json(), "it is about 'web' 'web-1-3fa2c1b'"),
        (DATABASE_CREDENTIAL, b'{"password": "hush"}', "is not sealed"),
        ("notes/key", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "nothing secret lies there in plain"),
        ("", b"", "is no key"),
        ("/x", b"", "is no key"),
        ("a\nb", b"", "is no key"),
        ("x" * 1025, b"", "is no key"),
    ],
)
def test_what_has_no_place_there_is_refused(key: str, body: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse(key, body)


def test_what_has_its_place_there_is_not_refused() -> None:
    refuse(OWN.key, OWN.to_json())
    refuse(DATABASE_CREDENTIAL, seal(SEED.seal_key(), DATABASE_CREDENTIAL, b"hush"))
    refuse("notes/today", b"hello")


def test_a_credential_is_opened_by_the_first_member_that_can(
    store: SmallS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = [member(1), member(2)]
    ran = []

    async def command(chosen: list[Machine], _: Identity, line: str) -> dict[Machine, str]:
        ran.append((chosen[0].slot, line))
        if chosen[0].slot == "web-1":
            raise FleetError("web-1: no answer")
        return {chosen[0]: "hush"}

    monkeypatch.setattr(standing, "command", command)
    monkeypatch.setattr(members, "find", lambda *_: machines)
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "x")
    program = "/usr/local/sbin/flotilla-datastore"
    assert fleet("get-db-credential", "--field", "password").output == "hush\n"
    assert ran == [(slot, f"{program} get-db-credential --field password") for slot in ("web-1", "web-2")]
    assert isinstance(fleet("put-db-credential", "--on", "web-1").exception, FleetError)
    assert ran[2:] == [("web-1", f"{program} put-db-credential")]
    assert not [method for method, _ in store.asked if method == "PUT"]


def member(number: int) -> Machine:
    return Machine(
        id=number,
        name=f"web-{number}-3fa2c1b",
        slot=f"web-{number}",
        address=f"198.18.0.{number}",
        private_address=f"10.20.0.{number}",
        image="web",
        image_names=frozenset(),
        created="",
    )
