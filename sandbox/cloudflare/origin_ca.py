"""Origin CA: certificates for origin servers, signed by an authority that only the edge trusts.

Names and limits: https://developers.cloudflare.com/api/resources/origin_ca_certificates/ and
https://developers.cloudflare.com/ssl/origin-configuration/origin-ca/
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.cloudflare import zones
from sandbox.cloudflare.clock import timestamp
from sandbox.cloudflare.envelope import ApiError, invalid_body, refuse_unknown
from sandbox.cloudflare.names import is_hostname
from sandbox.store import Document, Store

KIND = "cf_origin_certificate"
AUTHORITY_KIND = "cf_origin_authority"
VALIDITIES_DAYS = (7, 30, 90, 365, 730, 1095, 5475)
MOST_HOSTNAMES = 200
_REQUEST_TYPES = ("origin-rsa", "origin-ecc")
_LEAST_RSA_BITS = 2048
# Clocks of origins may be a little late.
_SKEW = timedelta(minutes=5)
_ORGANIZATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "CloudFlare, Inc.")
_LEAF_NAME = x509.Name(
    [
        _ORGANIZATION,
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "CloudFlare Origin CA"),
        x509.NameAttribute(NameOID.COMMON_NAME, "CloudFlare Origin Certificate"),
    ]
)

_SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def roots(store: Store) -> tuple[str, ...]:
    """The authorities' own certificates (PEM), those that have signed anything."""
    return tuple(document["certificate"] for document in store.all(AUTHORITY_KIND))


def create(store: Store, body: Document) -> Document:
    """Sign a request for names of the account's zones; the request's own names are not looked at."""
    refuse_unknown(body, frozenset({"csr", "hostnames", "request_type", "requested_validity"}))
    hostnames = _hostnames(store, body.get("hostnames"))
    request_type = body.get("request_type")
    if request_type not in _REQUEST_TYPES:
        raise invalid_body(
            f"Request body is invalid: request_type {request_type!r} must be one of {', '.join(_REQUEST_TYPES)}; "
            "the local edge has no keyless servers."
        )
    days = body.get("requested_validity", VALIDITIES_DAYS[-1])
    if isinstance(days, bool) or days not in VALIDITIES_DAYS:
        raise invalid_body(
            f"Request body is invalid: requested_validity {days!r} must be one of "
            f"{', '.join(map(str, VALIDITIES_DAYS))} days."
        )
    request = _request(body.get("csr"))
    with store.transaction():
        certificate = _signed(store, request, hostnames, request_type, int(days))
        document = {
            "id": str(certificate.serial_number),
            "certificate": _pem(certificate),
            "csr": body["csr"],
            "hostnames": hostnames,
            "expires_on": certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S +0000 UTC"),
            "request_type": request_type,
            "requested_validity": int(days),
            "revoked_at": None,
        }
        store.put(KIND, document["id"], document)
    return shown(document)


def get(store: Store, certificate: str) -> Document:
    """A certificate that stands; one that was revoked is gone."""
    found = store.get(KIND, certificate)
    if found is None or found["revoked_at"] is not None:
        raise ApiError(404, 1101, "Certificate not found")
    return found


def revoke(store: Store, certificate: str) -> Document:
    """Take it off the account's list. The edge asks no revocation list, so it goes on trusting the certificate."""
    found = store.get(KIND, certificate)
    if found is not None and found["revoked_at"] is not None:
        raise ApiError(400, 1014, "The certificate is already revoked")
    revoked = get(store, certificate) | {"revoked_at": timestamp()}
    store.put(KIND, certificate, revoked)
    return {"id": revoked["id"], "revoked_at": revoked["revoked_at"]}


def of_zone(store: Store, zone: Document) -> list[Document]:
    """The standing certificates with a name of this zone."""
    return [
        shown(document)
        for document in store.all(KIND)
        if document["revoked_at"] is None
        and any(_belongs(name, zone["name"]) for name in document["hostnames"])
    ]


def shown(document: Document) -> Document:
    """A certificate as the API answers it."""
    return {key: value for key, value in document.items() if key != "revoked_at"}


def _hostnames(store: Store, given: Any) -> list[str]:
    if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
        raise invalid_body("Request body is invalid: hostnames must be a list of names, at least one.")
    if len(given) > MOST_HOSTNAMES:
        raise invalid_body(
            f"Request body is invalid: {len(given)} hostnames; at most {MOST_HOSTNAMES} are allowed."
        )
    owned = [zone["name"] for zone in store.all(zones.KIND) if zone["status"] == "active"]
    names = [_ascii(name) for name in given]
    for name in names:
        if not is_hostname(name, wildcard=True) or "." not in name.removeprefix("*."):
            raise invalid_body(
                f"Request body is invalid: hostname {name!r} is neither a full name nor `*.` and one."
            )
        if not any(_belongs(name, zone) for zone in owned):
            raise ApiError(
                400,
                1010,
                f"Failed to validate requested hostname {name}: This zone is either not part of your account, or "
                "you do not have access to it. Please contact support if using a multi-user organization.",
            )
    return list(dict.fromkeys(names))


def _ascii(name: str) -> str:
    try:
        return name.encode("idna").decode().lower()
    except UnicodeError:
        return name.lower()


def _belongs(name: str, zone: str) -> bool:
    bare = name.removeprefix("*.")
    return bare == zone or bare.endswith(f".{zone}")


def _request(text: Any) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(str(text).encode())
        key = request.public_key()
        honest = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise invalid_body(f"Request body is invalid: csr is no certificate request ({error}).") from error
    strong = isinstance(key, ec.EllipticCurvePublicKey) or (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS
    )
    if not honest or not strong:
        raise invalid_body(
            "Request body is invalid: csr must be signed with its own key, an elliptic curve one or RSA of at least "
            f"{_LEAST_RSA_BITS} bits."
        )
    return request


def _signed(
    store: Store, request: x509.CertificateSigningRequest, names: list[str], kind: str, days: int
) -> x509.Certificate:
    issuer, key = _authority(store, kind)
    now = datetime.now(UTC)
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(_LEAF_NAME)
        .issuer_name(issuer.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _authority(store: Store, kind: str) -> tuple[x509.Certificate, _SigningKey]:
    """The authority for one kind of signature, made at first use."""
    stored = store.get(AUTHORITY_KIND, kind)
    if stored is not None:
        key = serialization.load_pem_private_key(stored["private_key"].encode(), None)
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise TypeError(f"the store's {AUTHORITY_KIND} {kind} holds a key that cannot sign certificates")
        return x509.load_pem_x509_certificate(stored["certificate"].encode()), key
    made: _SigningKey = (
        rsa.generate_private_key(65537, 2048)
        if kind == "origin-rsa"
        else ec.generate_private_key(ec.SECP256R1())
    )
    root = _root(made, "RSA" if kind == "origin-rsa" else "ECC")
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    store.put(AUTHORITY_KIND, kind, {"certificate": _pem(root), "private_key": private.decode()})
    return root, made


def _root(key: _SigningKey, kind: str) -> x509.Certificate:
    unit = f"CloudFlare Origin SSL {kind} Certificate Authority of a local sandbox"
    name = x509.Name([_ORGANIZATION, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        # It outlives the longest certificate it may sign.
        .not_valid_after(now + timedelta(days=2 * VALIDITIES_DAYS[-1]))
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_encipherment=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
