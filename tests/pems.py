"""Keys, certificates and requests for tests, as PEM text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def request_pem(key: ec.EllipticCurvePrivateKey, name: str = "ignored.example") -> str:
    """A certificate signing request."""
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(name)).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


class Authority:
    """A certificate authority; `since` and `days` are the ends of a certificate's life, in days from now."""

    def __init__(self, name: str = "Flotilla") -> None:
        self._key, self._name = new_key(), _name(name)
        builder = _builder(self._name, self._name, self._key, -1, 30)
        root = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.pem = _pem(root.sign(self._key, hashes.SHA256()))

    def issue(
        self,
        key: ec.EllipticCurvePrivateKey,
        name: str,
        *,
        since: float = -1,
        days: float = 30,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> str:
        builder = _builder(_name(name), self._name, key, since, days)
        leaf = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return _pem(leaf.sign(self._key, hashes.SHA256()))


def self_signed_pem(
    key: ec.EllipticCurvePrivateKey, name: str = "Flotilla", *, since: float = -1, days: float = 30
) -> str:
    return _pem(_builder(_name(name), _name(name), key, since, days).sign(key, hashes.SHA256()))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, since: float, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    name = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
