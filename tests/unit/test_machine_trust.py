"""What disks of machines trust: Debian's bundle, and one authority more."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from cryptography import x509

from sandbox.edge.authority import EdgeAuthority
from sandbox.machines.trust import install, subject_hash

BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def layer(directory: Path, bundle: bytes | None = None) -> Path:
    certificates = directory / "etc/ssl/certs"
    certificates.mkdir(parents=True)
    (directory / "etc").chmod(0o751)
    if bundle is not None:
        (directory / BUNDLE).write_bytes(bundle)
    return directory


def authority(directory: Path) -> bytes:
    made = EdgeAuthority(directory)
    made.ensure()
    return made.certificate_file.read_bytes()


def test_the_authority_joins_the_newest_bundle(tmp_path: Path) -> None:
    pem, other = authority(tmp_path / "ca"), authority(tmp_path / "other")
    layers = [layer(tmp_path / "low", b"old"), layer(tmp_path / "high", other), layer(tmp_path / "top")]
    upper = tmp_path / "upper"
    upper.mkdir()
    install(upper, layers, pem)
    assert (upper / BUNDLE).read_bytes() == other + pem
    assert (upper / BUNDLE).stat().st_mode & 0o777 == 0o644
    assert (upper / "usr/local/share/ca-certificates/flotilla-sandbox.crt").read_bytes() == pem
    assert (upper / "etc").stat().st_mode & 0o777 == 0o751
    assert len(ssl.create_default_context(cafile=str(upper / BUNDLE)).get_ca_certs()) == 2


def test_openssl_finds_it_by_its_hash(tmp_path: Path) -> None:
    pem = authority(tmp_path / "ca")
    upper = tmp_path / "upper"
    upper.mkdir()
    install(upper, [layer(tmp_path / "base", b"")], pem)
    told = subprocess.run(
        ["openssl", "x509", "-subject_hash", "-noout"], input=pem, capture_output=True, check=True
    ).stdout.decode()
    assert subject_hash(x509.load_pem_x509_certificate(pem)) == told.strip()
    link = upper / f"etc/ssl/certs/{told.strip()}.0"
    assert str(link.readlink()) == "flotilla-sandbox.pem"
    assert (
        str((link.parent / link.readlink()).readlink())
        == "/usr/local/share/ca-certificates/flotilla-sandbox.crt"
    )


def test_an_image_that_trusts_it_is_left_alone(tmp_path: Path) -> None:
    pem = authority(tmp_path / "ca")
    upper = tmp_path / "upper"
    upper.mkdir()
    install(upper, [layer(tmp_path / "base", b"others" + pem)], pem)
    assert list(upper.iterdir()) == []
