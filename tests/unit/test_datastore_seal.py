"""Credentials in the datastore: sealed, opened on a machine, and never believed when somebody touched them."""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.datastore import DATABASE_CREDENTIAL, is_sealed
from fleet.identity import Identity
from fleet.machine import places
from fleet.machine.datastore_command import bucket_of, get_credential, put_credential, run
from fleet.machine.datastore_seal import open_sealed, seal
from fleet.machine.host import MachineError
from tests.small_s3 import KEYS, SmallS3, small_s3
from tests.unit.fake_machine import FakeHost
from tests.unit.test_datastore_settings import BUNDLE
from tests.unit.test_datastore_view import OWN
from tests.unit.test_receive import WEB_BUNDLE

SEAL = Identity(bytes(32)).seal_key()
KEY = DATABASE_CREDENTIAL


@pytest.fixture
def store() -> Iterator[SmallS3]:
    with small_s3() as store:
        yield store


@pytest.fixture
def host(tmp_path: Path, store: SmallS3) -> FakeHost:
    """A member with its bundle in force."""
    host = FakeHost(tmp_path)
    document = json.loads(BUNDLE.settings.to_json())
    place = store.place
    document["datastore"] = {"endpoint": place.endpoint, "bucket": place.bucket, "region": place.region}
    host.lay(places.SETTINGS, json.dumps(document))
    secrets = {**BUNDLE.secrets, "datastore-access-key": KEYS.access, "datastore-secret-key": KEYS.secret}
    for name, value in (secrets | {"datastore-seal-key": SEAL}).items():
        host.lay(f"{places.SECRETS}/{name}", value)
    return host


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_sealed_opens_with_its_key_at_its_place(text: bytes, key: str) -> None:
    sealed = seal(SEAL, key, text)
    assert is_sealed(sealed)
    assert open_sealed(SEAL, key, sealed) == text
    with pytest.raises(MachineError, match="does not open"):
        open_sealed(SEAL, key + "x", sealed)
    with pytest.raises(MachineError, match="does not open"):
        open_sealed(Identity(bytes([1]) * 32).seal_key(), key, sealed)


def changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(seal(SEAL, KEY, b"hush")) | changes).encode()


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"hush",
        b"[]",
        b"{}",
        b'{"user": "site", "password": "hush"}',
    ],
)
def test_what_was_not_sealed_is_refused(sealed: bytes) -> None:
    with pytest.raises(MachineError, match=KEY):
        open_sealed(SEAL, KEY, sealed)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"cipher": "none"},
        {"nonce": ""},
        {"nonce": 7},
        {"sealed": "?"},
        {"sealed": base64.b64encode(b"short").decode()},
    ],
)
def test_a_seal_that_was_changed_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MachineError, match=KEY):
        open_sealed(SEAL, KEY, changed(**changes))


@given(st.binary(max_size=100))
def test_whatever_lies_there_is_opened_or_refused_and_nothing_else(sealed: bytes) -> None:
    with pytest.raises(MachineError):
        open_sealed(SEAL, KEY, sealed)
    assert not is_sealed(sealed)


def test_a_credential_is_never_plain_in_the_bucket(host: FakeHost, store: SmallS3) -> None:
    with bucket_of(host) as bucket:
        assert put_credential(host, bucket) == f"{KEY}: user site at 10.20.0.5, sealed"
        body = store.objects[KEY].body
        assert b"hush" not in body
        assert b"site" not in body
        assert get_credential(host, bucket, "password") == "hush"
        assert json.loads(get_credential(host, bucket, None)) == {
            "engine": "mysql",
            "host": "10.20.0.5",
            "port": 3306,
            "name": "site",
            "user": "site",
            "password": "hush",
        }


def test_a_credential_that_lies_there_is_not_written_again(host: FakeHost, store: SmallS3) -> None:
    with bucket_of(host) as bucket:
        put_credential(host, bucket)
        sealed = store.objects[KEY].body
        assert put_credential(host, bucket).endswith("sealed already")
        assert store.objects[KEY].body == sealed
        host.lay(f"{places.SECRETS}/database-password", "another")
        assert put_credential(host, bucket).endswith("sealed")
        assert get_credential(host, bucket, "password") == "another"
        store.lay(KEY, b"nothing that opens")
        assert put_credential(host, bucket).endswith("sealed")


def test_without_a_credential_the_way_to_one_is_said(host: FakeHost) -> None:
    with bucket_of(host) as bucket, pytest.raises(MachineError, match="put-db-credential` lays it"):
        get_credential(host, bucket, None)


def test_a_machine_without_a_datastore_says_so(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    with pytest.raises(MachineError, match="no bundle yet"):
        bucket_of(host)
    host.lay(places.SETTINGS, WEB_BUNDLE.settings.to_json())
    with pytest.raises(MachineError, match="this stack has no datastore"):
        bucket_of(host)


def verb(name: str, **values: Any) -> argparse.Namespace:
    return argparse.Namespace(verb=name, **values)


def test_verbs_on_a_machine(
    host: FakeHost, store: SmallS3, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    store.lay(OWN.key, OWN.to_json())
    store.lay("ips/web/web-9", OWN.to_json(), age=400)
    with bucket_of(host) as bucket:
        assert run(host, bucket, verb("check", key=OWN.key)) == 0
        assert run(host, bucket, verb("check", key="x")) == 1
        assert run(host, bucket, verb("check", key="")) == 0
        assert run(host, bucket, verb("list", prefix="ips/")) == 0
        assert run(host, bucket, verb("get", key=OWN.key)) == 0
        assert run(host, bucket, verb("delete", key=OWN.key)) == 0
    out = capfdbinary.readouterr().out
    assert b"machines that speak: 1 web\nmachines that have gone: 1\nold versions: kept\n" in out
    assert b"stale" in out
    assert OWN.to_json() in out
    assert OWN.key not in store.objects
