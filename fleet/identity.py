"""Every secret of a stack, derived from its one seed.

Deriving instead of storing keeps secrets out of the state as resources, makes them known at preview, and lets
a slot keep its host key when the droplet in it is replaced. Everything here is a pure function of the seed:
equal seeds give equal bytes on every run, so that user data and secret bundles show no changes of their own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SEED_BYTES = 32
PEER_NAME = "member.flotilla.internal"
"""Name of every web member among its peers, as fleet/machine/failover.py checks it."""

# Certificates must come out byte for byte the same on every run, so their validity cannot follow the clock.
VALID_FROM = datetime(2026, 1, 1, tzinfo=UTC)
VALID_UNTIL = datetime(2046, 1, 1, tzinfo=UTC)

# Order of the P-256 group, section 3.2.1.3 of
# https://nvlpubs.nist.gov/nistpubs/SpecialPublications/NIST.SP.800-186.pdf
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# FIPS 186-5 appendix A.2.1: 64 bits more than the order make the bias of the reduction negligible.
P256_SCALAR_BYTES = 40

# RFC 5280 section 4.1.2.2 allows serial numbers of up to 20 octets.
SERIAL_BYTES = 16


class SeedError(ValueError):
    """The seed is not what `fleet init` makes; the text names the fix and never the seed."""


@dataclass(frozen=True)
class SshKeyPair:
    """An Ed25519 key pair in OpenSSH's own formats."""

    private_openssh: str = field(repr=False)
    """The private key as OpenSSH's PEM text, ending with a newline."""
    public_openssh: str
    """One line as in authorized_keys, without a newline: type, key, comment."""


@dataclass(frozen=True)
class CertificatePair:
    """An X.509 certificate and its private key, both PEM."""

    certificate_pem: str
    private_key_pem: str = field(repr=False)


@dataclass(frozen=True)
class CertificateRequest:
    """What another authority is asked to sign (PKCS #10), and the private key, both PEM."""

    request_pem: str
    private_key_pem: str = field(repr=False)


@dataclass(frozen=True)
class CertificateAuthority:
    """The stack's own certificate authority: the root that members, databases and controllers trust."""

    certificate_pem: str
    _certificate: x509.Certificate = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    def issued(self, certificate_pem: str) -> bool:
        """Whether it has signed this certificate; of several in the text the first one counts, as in uploads."""
        try:
            leaf = x509.load_pem_x509_certificates(certificate_pem.encode())[0]
            leaf.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True

    def issue(
        self, name: str, key: ec.EllipticCurvePrivateKey, dns: Sequence[str], ips: Sequence[str], client: bool
    ) -> CertificatePair:
        """A leaf for `key`; `client` makes it one that identifies a client instead of a server, and with names both."""
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH] if client else []
        if dns or ips or not client:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in dns]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in ips]
        builder = (
            _builder(
                name,
                key,
                issuer=self._certificate.subject,
                discriminator="\n".join([*dns, *ips, str(client)]),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return CertificatePair(
            certificate_pem=_certificate_pem(certificate), private_key_pem=_private_key_pem(key)
        )


@dataclass(frozen=True)
class Identity:
    """What a stack is known by; made with `Identity.from_seed`."""

    seed: bytes = field(repr=False)

    @classmethod
    def from_seed(cls, seed_base64: str) -> Identity:
        """Identity of the stack whose config holds this seed: 32 bytes in base64. Raises SeedError."""
        fix = "run `fleet init STACK`, or set 32 random bytes in base64 with `pulumi config set --secret`"
        try:
            seed = base64.b64decode(seed_base64.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise SeedError(f"the seed is not base64: {fix}") from None
        if len(seed) != SEED_BYTES:
            raise SeedError(f"the seed has {len(seed)} bytes and must have {SEED_BYTES}: {fix}")
        return cls(seed=seed)

    @property
    def seed_base64(self) -> str:
        """The seed as the stack's config holds it."""
        return base64.b64encode(self.seed).decode("ascii")

    def host_key(self, slot: str) -> SshKeyPair:
        """The SSH host key of a slot; burst members have slots of their own."""
        return self._ssh_key(f"ssh-host-key/{slot}", comment=slot)

    def deploy_key(self) -> SshKeyPair:
        """The key that the program and `fleet` log in with as root."""
        return self._ssh_key("ssh-deploy-key", comment="flotilla-deploy")

    def password(self, purpose: str) -> str:
        """A password for one purpose: 256 bits as 43 URL-safe characters."""
        return base64.urlsafe_b64encode(self._derive(f"password/{purpose}", 32)).decode("ascii").rstrip("=")

    def tunnel_key(self) -> SshKeyPair:
        """The key that members log in to a database's gateway with, which opens nothing of the stack's own."""
        return self._ssh_key("ssh-tunnel-key", comment="flotilla-tunnel")

    def seal_key(self) -> str:
        """What seals credentials in the datastore: a key for AES-256, in base64."""
        return base64.b64encode(self._derive("datastore-seal", 32)).decode("ascii")

    def authority(self) -> CertificateAuthority:
        """The stack's certificate authority."""
        return self._authority

    def certificate(
        self, name: str, *, dns: Sequence[str] = (), ips: Sequence[str] = (), client: bool = False
    ) -> CertificatePair:
        """A leaf certificate of the stack's authority for the subject `name`, with a key of its own."""
        return self._authority.issue(name, self._p256_key(f"certificate/{name}"), dns, ips, client)

    def peer_certificate(self) -> CertificatePair:
        """What web members show each other, whoever of them asks; all have the same, as they have the site's."""
        return self.certificate(PEER_NAME, dns=[PEER_NAME], client=True)

    def certificate_request(self, name: str, *, dns: Sequence[str]) -> CertificateRequest:
        """A request for a certificate of another authority, for a key of its own."""
        key = self._p256_key(f"request/{name}")
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(_subject(dns[0]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in dns]), critical=False)
            .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        return CertificateRequest(
            request_pem=request.public_bytes(serialization.Encoding.PEM).decode("ascii"),
            private_key_pem=_private_key_pem(key),
        )

    def origin_request(self, domain: str, rotation: int) -> CertificateRequest:
        """What the edge is asked to sign for the members of a site; each `rotation` has a key of its own."""
        return self.certificate_request(f"origin/{rotation}", dns=[domain])

    @cached_property
    def _authority(self) -> CertificateAuthority:
        key = self._p256_key("authority")
        # Two stacks' authorities must not share a name, or software may look up the wrong one by it.
        fingerprint = hashlib.sha256(_public_key_der(key)).hexdigest()[:8]
        name = f"Flotilla authority {fingerprint}"
        certificate = (
            _builder(name, key, issuer=_subject(name), discriminator="authority")
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        return CertificateAuthority(
            certificate_pem=_certificate_pem(certificate), _certificate=certificate, _key=key
        )

    def _ssh_key(self, purpose: str, comment: str) -> SshKeyPair:
        secret = self._derive(purpose, 32)
        public = ed25519.Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        blob = base64.b64encode(_openssh_public_blob(public)).decode("ascii")
        return SshKeyPair(
            private_openssh=_openssh_private_key(secret, public, comment),
            public_openssh=f"ssh-ed25519 {blob} {comment}",
        )

    def _p256_key(self, purpose: str) -> ec.EllipticCurvePrivateKey:
        raw = int.from_bytes(self._derive(f"p256/{purpose}", P256_SCALAR_BYTES), "big")
        return ec.derive_private_key(raw % (P256_ORDER - 1) + 1, ec.SECP256R1())

    def _derive(self, purpose: str, length: int) -> bytes:
        return HKDF(algorithm=hashes.SHA256(), length=length, salt=b"flotilla", info=purpose.encode()).derive(
            self.seed
        )


def _ssh_string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _openssh_public_blob(public: bytes) -> bytes:
    return _ssh_string(b"ssh-ed25519") + _ssh_string(public)


def _openssh_private_key(secret: bytes, public: bytes, comment: str) -> str:
    """The openssh-key-v1 text; written here because general serializers put random check bytes in it.

    Format: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key
    """
    check = hashlib.sha256(b"openssh-check" + secret).digest()[:4]
    section = (
        check
        + check
        + _openssh_public_blob(public)
        + _ssh_string(secret + public)
        + _ssh_string(comment.encode())
    )
    section += bytes(range(1, -len(section) % 8 + 1))
    none = _ssh_string(b"none")
    blob = (
        b"openssh-key-v1\0"
        + none  # cipher
        + none  # key derivation
        + _ssh_string(b"")  # its options
        + struct.pack(">I", 1)
        + _ssh_string(_openssh_public_blob(public))
        + _ssh_string(section)
    )
    text = base64.b64encode(blob).decode("ascii")
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, discriminator: str
) -> x509.CertificateBuilder:
    """What every certificate has; the serial number is a digest of its content, so that it is stable."""
    public = _public_key_der(key)
    digest = hashlib.sha256(b"\0".join([name.encode(), discriminator.encode(), public])).digest()
    # The top bit clear keeps the number positive, the next one set keeps it from ever being zero.
    serial = int.from_bytes(digest[:SERIAL_BYTES], "big") >> 1 | 1 << (8 * SERIAL_BYTES - 2)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _public_key_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _private_key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
