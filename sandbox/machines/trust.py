"""Public trust inside machines: what they reach on the sandbox's internet is certified by the sandbox's own authority.

Laid down as Debian's update-ca-certificates(8) does it, so that its next run in the machine keeps it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

_NAME = "flotilla-sandbox"
_LOCAL = Path(f"usr/local/share/ca-certificates/{_NAME}.crt")
_CERTIFICATES = Path("etc/ssl/certs")
_BUNDLE = _CERTIFICATES / "ca-certificates.crt"


def install(upper: Path, layers: Sequence[Path], authority: bytes) -> None:
    """Add an authority (PEM) to the trust store of a disk: `upper` over `layers`, lowest first."""
    bundles = (layer / _BUNDLE for layer in reversed(layers) if (layer / _BUNDLE).is_file())
    bundle = next((file.read_bytes() for file in bundles), b"")
    if authority in bundle:
        return
    for folder in (_LOCAL.parent, _CERTIFICATES):
        _make(upper, layers, folder)
    _write(upper / _LOCAL, authority)
    _write(upper / _BUNDLE, bundle + authority)
    for link, target in (
        (f"{_NAME}.pem", f"/{_LOCAL}"),
        (f"{subject_hash(x509.load_pem_x509_certificate(authority))}.0", f"{_NAME}.pem"),
    ):
        (upper / _CERTIFICATES / link).unlink(missing_ok=True)
        (upper / _CERTIFICATES / link).symlink_to(target)


def subject_hash(certificate: x509.Certificate) -> str:
    """The name under which OpenSSL looks for an authority that is called by a common name alone.

    https://docs.openssl.org/3.0/man1/openssl-rehash/: the first four bytes, reversed, of the SHA-1 of the name in
    its canonical form, which is in lower case and without the outermost header.
    """
    name = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    canonical = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(name).lower())]).public_bytes()
    return hashlib.sha1(canonical[2:], usedforsecurity=False).digest()[3::-1].hex()


def _make(upper: Path, layers: Sequence[Path], folder: Path) -> None:
    """A folder of the upper layer, and those above it, as the lower layers have them."""
    for part in [*reversed(folder.parents), folder]:
        place = upper / part
        if part == Path() or place.is_dir():
            continue
        place.mkdir(mode=0o755)
        below = next((layer / part for layer in reversed(layers) if (layer / part).is_dir()), None)
        if below is not None:
            facts = below.stat()
            os.chown(place, facts.st_uid, facts.st_gid)
            shutil.copystat(below, place)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o644)
