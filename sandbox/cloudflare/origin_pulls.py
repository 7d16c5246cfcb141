"""Authenticated origin pulls of a zone: the client certificates that the edge shows to its origins.

https://developers.cloudflare.com/ssl/origin-configuration/authenticated-origin-pull/ and
https://developers.cloudflare.com/api/resources/origin_tls_client_auth/. An upload is pending until it has reached the
edge, and so is a deletion: in both spans the certificates deployed before go on being shown.
"""

from __future__ import annotations

import math
import re
import secrets
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from sandbox.cloudflare.clock import timestamp
from sandbox.cloudflare.envelope import ApiError, invalid_body, refuse_unknown
from sandbox.store import Document, Store

KIND = "cf_client_certificate"
SETTING_KIND = "cf_origin_pulls"
# The real edge takes minutes.
DEPLOYMENT_SECONDS = 2.0
_ID = re.compile(r"[0-9a-f]{32}")
_INTERNAL = frozenset({"zone_id", "private_key", "active_at", "gone_at"})


def upload(store: Store, zone: str, body: Document, now: float) -> Document:
    """Take a certificate and its key; the edge shows it when it is active. `now`: seconds since the epoch."""
    refuse_unknown(body, frozenset({"certificate", "private_key"}))
    certificate = _certificate(body.get("certificate"))
    _check_pair(certificate, body.get("private_key"))
    text = str(body["certificate"])
    with store.transaction():
        for old in store.all(KIND):
            if old["zone_id"] == zone and not _exists(old, now):
                store.delete(KIND, old["id"])
            elif old["zone_id"] == zone and old["gone_at"] is None and old["certificate"] == text:
                raise ApiError(400, 1406, "This certificate already exists for this zone.")
        document: Document = {
            "id": secrets.token_hex(16),
            "zone_id": zone,
            "certificate": text,
            "private_key": body["private_key"],
            "issuer": _issuer(certificate),
            "signature": _signature(certificate),
            "expires_on": certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "uploaded_on": timestamp(),
            "active_at": now + DEPLOYMENT_SECONDS,
            "gone_at": None,
        }
        store.put(KIND, document["id"], document)
    return shown(document, now)


def get(store: Store, zone: str, identifier: str, now: float) -> Document:
    if not _ID.fullmatch(identifier):
        raise ApiError(
            400, 1415, "Certificate ID in request is either invalid or the certificate has been deleted"
        )
    found = store.get(KIND, identifier)
    if found is None or found["zone_id"] != zone or not _exists(found, now):
        raise ApiError(404, 1552, "certificate not found")
    return found


def delete(store: Store, zone: str, identifier: str, now: float) -> Document:
    """Begin its removal; one that is on its way to the edge cannot be called back."""
    found = get(store, zone, identifier, now)
    if found["gone_at"] is not None:
        raise ApiError(400, 1414, "certificate is already deleted: pending deletion")
    if now < found["active_at"]:
        raise ApiError(409, 1434, "certificate is pending deployment")
    leaving = found | {"gone_at": now + DEPLOYMENT_SECONDS}
    store.put(KIND, identifier, leaving)
    return shown(leaving, now)


def of_zone(store: Store, zone: str, now: float) -> list[Document]:
    """A zone's certificates as the API lists them, newest first."""
    found = [one for one in store.all(KIND) if one["zone_id"] == zone and _exists(one, now)]
    return [shown(one, now) for one in reversed(found)]


def shown(document: Document, now: float) -> Document:
    """A certificate as the API answers it: never with its key."""
    if document["gone_at"] is not None:
        status = "pending_deletion"
    else:
        status = "pending_deployment" if now < document["active_at"] else "active"
    return {key: value for key, value in document.items() if key not in _INTERNAL} | {"status": status}


def enabled(store: Store, zone: str) -> bool:
    setting = store.get(SETTING_KIND, zone)
    return setting is not None and bool(setting["enabled"])


def enable(store: Store, zone: str, body: Document) -> Document:
    """`PUT .../settings`: whether the edge shows a certificate to the zone's origins."""
    refuse_unknown(body, frozenset({"enabled"}))
    wanted = body.get("enabled")
    if not isinstance(wanted, bool):
        raise invalid_body(f"Request body is invalid: enabled must be true or false, not {wanted!r}.")
    store.put(SETTING_KIND, zone, {"zone": zone, "enabled": wanted})
    return {"enabled": wanted}


def deployed(store: Store, zone: str, now: float) -> str | None:
    """The certificate that the edge has for a zone, with its key (PEM): the newest, one that stays before any other."""
    there = [
        one
        for one in store.all(KIND)
        if one["zone_id"] == zone and _exists(one, now) and one["active_at"] <= now
    ]
    if not there:
        return None
    newest = max(there, key=lambda one: (one["gone_at"] is None, one["active_at"]))
    return f"{newest['certificate'].strip()}\n{newest['private_key'].strip()}\n"


def seconds_until_change(store: Store, now: float) -> float | None:
    """When the next certificate reaches or leaves the edge; None when all is as it stays."""
    moments = (
        moment for one in store.all(KIND) for moment in (one["active_at"], one["gone_at"] or -math.inf)
    )
    return min((moment - now for moment in moments if moment > now), default=None)


def delete_all(store: Store, zone: str) -> None:
    """Forget what a deleted zone had."""
    for one in store.all(KIND):
        if one["zone_id"] == zone:
            store.delete(KIND, one["id"])
    if store.get(SETTING_KIND, zone) is not None:
        store.delete(SETTING_KIND, zone)


def _exists(document: Document, now: float) -> bool:
    return document["gone_at"] is None or now < document["gone_at"]


def _certificate(text: Any) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(str(text).encode())[0]
    except ValueError as error:
        raise ApiError(400, 1408, f"Unable to parse certificate: {error}") from error


def _check_pair(certificate: x509.Certificate, key: Any) -> None:
    # https://developers.cloudflare.com/ssl/edge-certificates/custom-certificates/troubleshooting/
    refusal = ApiError(400, 2200, "The certificate and private key pair you uploaded is invalid.")
    try:
        private = serialization.load_pem_private_key(str(key).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise refusal from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise refusal


def _issuer(certificate: x509.Certificate) -> str:
    for kind in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        for attribute in certificate.issuer.get_attributes_for_oid(kind):
            return str(attribute.value)
    return ""


def _signature(certificate: x509.Certificate) -> str:
    """`SHA256WithRSA`, `ECDSAWithSHA256`."""
    digest = certificate.signature_hash_algorithm
    if digest is None:
        return "Ed25519"
    elliptic = isinstance(certificate.signature_algorithm_parameters, ec.ECDSA)
    name = digest.name.upper()
    return f"ECDSAWith{name}" if elliptic else f"{name}WithRSA"
