"""What is derived from a stack's seed: stable, distinct, and readable by the software that gets it."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import asyncssh
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from fleet.identity import PEER_NAME, Identity, SeedError

SEED = base64.b64encode(bytes(range(32))).decode()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.fixture
def identity() -> Identity:
    return Identity.from_seed(SEED)


def test_the_same_seed_gives_the_same_bytes(identity: Identity) -> None:
    again = Identity.from_seed(SEED)
    assert identity.host_key("web-1") == again.host_key("web-1")
    assert identity.authority().certificate_pem == again.authority().certificate_pem
    assert identity.certificate("web", dns=["www.foobar.com"]) == again.certificate(
        "web", dns=["www.foobar.com"]
    )


def test_a_certificate_request_is_signed_by_its_key_and_the_same_every_time(identity: Identity) -> None:
    made = identity.certificate_request("origin/1", dns=["www.foobar.com"])
    assert made == Identity.from_seed(SEED).certificate_request("origin/1", dns=["www.foobar.com"])
    request = x509.load_pem_x509_csr(made.request_pem.encode())
    assert request.is_signature_valid
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["www.foobar.com"]
    key = serialization.load_pem_private_key(made.private_key_pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == request.public_key()


def test_another_rotation_has_another_key(identity: Identity) -> None:
    first, second = (identity.certificate_request(f"origin/{n}", dns=["a.com"]) for n in (1, 2))
    assert first.private_key_pem != second.private_key_pem
    assert first.private_key_pem not in repr(first)


def test_the_seed_is_told_as_it_was_given(identity: Identity) -> None:
    assert identity.seed_base64 == SEED


def test_the_derivation_never_changes(identity: Identity) -> None:
    """A changed derivation would replace every machine of every stack; these bytes are a promise."""
    assert identity.password("database") == "l3gH0ahaTomxaPtV1ODjtzarYmj7ElzFJ5EusPlAnAs"
    assert _digest(identity.host_key("web-1").private_openssh) == "631e3654fb44b65c"
    assert _digest(identity.authority().certificate_pem) == "773dbf0be588978c"
    assert _digest(identity.certificate("web").private_key_pem) == "30ff1e32e5376b92"


def test_slots_purposes_and_seeds_do_not_share_secrets(identity: Identity) -> None:
    other = Identity.from_seed(base64.b64encode(bytes(32)).decode())
    keys = {
        pair.private_openssh
        for pair in (
            identity.host_key("web-1"),
            identity.host_key("web-2"),
            identity.deploy_key(),
            other.host_key("web-1"),
        )
    }
    assert len(keys) == 4
    assert identity.password("a") != identity.password("b")


def test_cryptography_reads_the_private_key_as_the_public_ones_half(identity: Identity) -> None:
    pair = identity.host_key("web-1")
    key = serialization.load_ssh_private_key(pair.private_openssh.encode(), password=None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert pair.public_openssh == f"{public.decode()} web-1"


def test_asyncssh_reads_the_private_key(identity: Identity) -> None:
    key = asyncssh.import_private_key(identity.deploy_key().private_openssh)
    assert key.export_public_key().decode().strip() == identity.deploy_key().public_openssh


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
@pytest.mark.parametrize("slot", ["w", "web-1", "database-1", "autoscaler-12"])
def test_openssh_reads_the_private_key(identity: Identity, slot: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(identity.host_key(slot).private_openssh)
    path.chmod(0o600)
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True)
    assert shown.stdout.strip() == identity.host_key(slot).public_openssh, shown.stderr


def test_passwords_have_256_bits_in_43_url_safe_characters(identity: Identity) -> None:
    password = identity.password("database")
    assert len(password) == 43
    assert len(base64.urlsafe_b64decode(password + "=")) == 32


def test_a_leaf_is_signed_by_the_authority_and_holds_the_names(identity: Identity) -> None:
    authority = x509.load_pem_x509_certificate(identity.authority().certificate_pem.encode())
    pair = identity.certificate("database-1", dns=["database-1"], ips=["10.20.0.3"])
    leaf = x509.load_pem_x509_certificate(pair.certificate_pem.encode())
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["database-1"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.20.0.3"]
    key = serialization.load_pem_private_key(pair.private_key_pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == leaf.public_key()


def test_a_client_certificate_cannot_serve(identity: Identity) -> None:
    leaf = x509.load_pem_x509_certificate(identity.certificate("edge", client=True).certificate_pem.encode())
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_members_are_server_and_client_to_each_other(identity: Identity) -> None:
    leaf = x509.load_pem_x509_certificate(identity.peer_certificate().certificate_pem.encode())
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [PEER_NAME]
    assert leaf.subject.rfc4514_string() == f"CN={PEER_NAME}"


def test_changed_names_give_another_serial_number(identity: Identity) -> None:
    serials = {
        x509.load_pem_x509_certificate(
            identity.certificate("web", dns=dns).certificate_pem.encode()
        ).serial_number
        for dns in (["a.foobar.com"], ["b.foobar.com"])
    }
    assert len(serials) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_verifies_the_chain(identity: Identity, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(identity.authority().certificate_pem)
    (tmp_path / "leaf.pem").write_text(identity.certificate("web", dns=["www.foobar.com"]).certificate_pem)
    hostname = ["-verify_hostname", "www.foobar.com"]
    files = ["-CAfile", "ca.pem", "leaf.pem"]
    verified = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *hostname, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert verified.returncode == 0, verified.stderr


@pytest.mark.parametrize("seed", ["", "hunter2", "!!!!", base64.b64encode(b"short").decode()])
def test_a_wrong_seed_is_refused_without_being_shown(seed: str) -> None:
    with pytest.raises(SeedError, match="fleet init") as refused:
        Identity.from_seed(seed)
    assert not seed or seed not in str(refused.value)


def test_secrets_are_not_in_the_repr(identity: Identity) -> None:
    shown = (
        repr(identity)
        + repr(identity.deploy_key())
        + repr(identity.certificate("web"))
        + repr(identity.authority())
    )
    assert "PRIVATE KEY" not in shown
    assert repr(identity.seed) not in shown
