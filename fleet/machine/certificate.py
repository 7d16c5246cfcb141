"""The certificate a member makes for itself when the bundle gives none."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fleet.machine import places
from fleet.machine.host import Host

CERTIFICATE = f"{places.TLS}/self-signed.crt"
KEY = f"{places.TLS}/self-signed.key"
# Longer than a member lives: members are replaced by every release.
DAYS = 825


def ensure_self_signed(host: Host, names: Sequence[str]) -> None:
    """Make the key and certificate for these host names, unless they are there already."""
    wanted = " ".join(names)
    if host.read(f"{places.TLS}/names") == wanted and host.read(KEY) and host.read(CERTIFICATE):
        return
    host.path(places.TLS).mkdir(parents=True, exist_ok=True, mode=0o700)
    mask = os.umask(0o077)
    try:
        host.must(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={names[0]}" if len(names[0]) <= 64 else "/CN=site",
            "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
            "-days", str(DAYS), "-keyout", str(host.path(KEY)), "-out", str(host.path(CERTIFICATE)),
        )  # fmt: skip
    finally:
        os.umask(mask)
    host.write(f"{places.TLS}/names", wanted)


def check_pair(host: Host, certificate: str, key: str) -> str | None:
    """Why a certificate and a key (PEM texts) cannot serve together, or None when they can."""
    given = host.run("openssl", "x509", "-noout", "-pubkey", feed=certificate)
    derived = host.run("openssl", "pkey", "-pubout", feed=key)
    if given.code:
        return "the certificate cannot be read"
    if derived.code:
        return "the private key cannot be read"
    return None if given.output == derived.output else "the private key belongs to another certificate"
