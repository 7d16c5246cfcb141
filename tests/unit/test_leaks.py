"""The search for leaked secrets finds them in every form, and nothing where nothing is."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from fleet.identity import Identity
from tests.leaks import Secrets

SEED = base64.b64encode(hashlib.sha256(b"a stack").digest()).decode()
OWN = Identity.from_seed(SEED)
PASSWORD = OWN.password("database").encode()
KEY = OWN.deploy_key().private_openssh.encode()
TLS = OWN.certificate("web").private_key_pem.encode()


def _packed(data: bytes) -> bytes:
    """Without the time of day, which would give the tests another name in every process that collects them."""
    return gzip.compress(data, mtime=0)


@pytest.fixture(scope="module")
def secrets() -> Secrets:
    return Secrets.of(SEED, ["web-1", "web-2"], ["web"], ["database"], [2])


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        (PASSWORD, "password database"),
        (b"xy" + PASSWORD + b"\n", "password database"),
        (base64.b64encode(b"a" + PASSWORD + b"b"), "password database"),
        (base64.urlsafe_b64encode(b"ab" + SEED.encode() + b"c"), "seed"),
        (base64.b64decode(SEED), "seed"),
        (base64.b64decode(SEED).hex().encode(), "seed"),
        (quote(SEED, safe="").encode(), "seed"),
        (_packed(b"settings " + PASSWORD), "password database"),
        (base64.b64encode(_packed(b"settings " + PASSWORD)), "password database"),
        (base64.encodebytes(_packed(KEY)), "deploy key"),
        (_packed(base64.encodebytes(b"xx" + KEY)), "deploy key"),
        (json.dumps({"stdin": KEY.decode()}).encode(), "deploy key"),
        (quote(KEY, safe="").encode(), "deploy key"),
        (base64.encodebytes(b"key: " + TLS), "TLS key web"),
        (json.dumps({"content": base64.encodebytes(_packed(TLS)).decode()}).encode(), "TLS key web"),
        (b"x" + OWN.origin_request("www.example", 2).private_key_pem.encode(), "members' key 2"),
        (_packed(OWN.certificate("edge/2", client=True).private_key_pem.encode()), "edge's key 2"),
        (OWN.host_key("web-2").private_openssh.encode(), "host key web-2"),
    ],
)
def test_every_form_of_a_secret_is_found(secrets: Secrets, planted: bytes, name: str) -> None:
    assert secrets.found_in(b"before " + planted + b" after") == {name}


def test_public_halves_and_other_stacks_are_no_leaks(secrets: Secrets) -> None:
    other = Identity.from_seed(base64.b64encode(b"z" * 32).decode())
    public = [
        OWN.deploy_key().public_openssh,
        OWN.host_key("web-1").public_openssh,
        OWN.authority().certificate_pem,
        OWN.certificate("web").certificate_pem,
        OWN.certificate("edge/2", client=True).certificate_pem,
        OWN.origin_request("www.example", 2).request_pem,
        other.deploy_key().private_openssh,
        other.certificate("web").private_key_pem,
        other.password("database"),
    ]
    assert secrets.found_in("\n".join(public).encode()) == frozenset()


def test_a_tree_of_files_is_searched(secrets: Secrets, tmp_path: Path) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "harmless").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "deep" / "plain").write_bytes(b"\0\1" + KEY)
    (tmp_path / "deep" / "down" / "packed.gz").write_bytes(_packed(PASSWORD))
    (tmp_path / "deep" / "gone").symlink_to("/nowhere")
    assert secrets.found_in_files(tmp_path) == {
        "deep/plain": {"deploy key"},
        "deep/down/packed.gz": {"password database"},
    }
