"""The schema of what a machine is told: machine.json by the boot payload, the bundle over SSH.

Written by the Pulumi program, read by the programs on the machines, so only the standard library is used. Every
error is a ConfigError that names the key, the value (never a secret's) and what would be right.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, Literal, Self, get_args

from fleet.reading import (
    ConfigError,
    Reader,
    as_host,
    as_network,
    as_optional_certificate,
    as_pem,
    as_server_name,
    decode_object,
    is_name,
)

__all__ = [
    "ANYWHERE",
    "EDGE",
    "Bundle",
    "ConfigError",
    "DatabaseSettings",
    "DatastoreSettings",
    "Engine",
    "Inbound",
    "MachineConfig",
    "Protocol",
    "Role",
    "Settings",
    "TunnelSettings",
]

Role = Literal["web", "database", "autoscaler"]
Engine = Literal["mysql", "postgresql"]
Protocol = Literal["tcp", "udp"]

EDGE: Final = "edge"  # the named set of the edge's address ranges, filled by the bundle
ROLE_SOURCE: Final = "role:"  # before a role's name: the named set of its machines, filled from the datastore
ANYWHERE: Final = ("0.0.0.0/0", "::/0")

# The widest ranges an edge may have; anything wider is a mistake that would open the machine to everybody.
# Cloudflare's widest are a /13 and a /29: https://www.cloudflare.com/ips/
WIDEST_EDGE_PREFIX: Final = {4: 8, 6: 20}
MAX_EDGE_RANGES: Final = 1000
MAX_SECRET_BYTES: Final = 64 * 1024
# The controller holds what web members are handed; of a distribution's image that includes a release.
MAX_DOCUMENT_BYTES: Final = 128 * 1024 * 1024

# The two documents of the autoscaler role; fleet/controller/config.py has their schema.
CONTROLLER_CONFIG: Final = "controller.json"
CONTROLLER_SECRETS: Final = "controller-secrets.json"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,31}")
_DIGEST = re.compile(r"([0-9a-f]{64})?")
_MANIFEST = re.compile(r"([0-9a-f]{8,64})?")
_RELEASE = re.compile(r"[A-Za-z0-9._-]{0,64}")
_VOLUME = re.compile(r"([a-z][a-z0-9-]{0,63})?")
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HOST_KEY = re.compile(r"(ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa) [A-Za-z0-9+/=]{40,1000}")
_UNIT = re.compile(r"[A-Za-z0-9@._-]{1,120}\.(service|socket|timer)")
_PATH = re.compile(r"/[A-Za-z0-9/._~-]{0,200}")
_APP_SECRET = re.compile(r"app-[a-z0-9][a-z0-9._-]{0,58}")
_ROLE = re.compile(r"[a-z]{1,20}")
# https://docs.digitalocean.com/products/spaces/details/limits/
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_ENDPOINT = re.compile(r"(https://[a-z0-9.-]{1,253}|http://(127\.0\.0\.1|localhost))(:[1-9]\d{0,4})?")

# What opens the datastore, and the key that credentials in it are sealed with.
DATASTORE_SECRETS: Final = ("datastore-access-key", "datastore-secret-key")
DATASTORE_SEAL: Final = "datastore-seal-key"
_DATASTORE_ALL: Final = frozenset({*DATASTORE_SECRETS, DATASTORE_SEAL})

# What members show each other when one takes over a request of another: see fleet/machine/failover.py.
PEER_SECRETS: Final = ("peer.crt", "peer.key", "peer-ca.pem")
# The key that a web member logs in to the tunnel's gateway with.
TUNNEL_KEY: Final = "tunnel-key"

_SECRETS: Final[Mapping[Role, frozenset[str]]] = {
    "web": frozenset(
        {"database-password", "database-ca.pem", "tls.key", "tls.crt", *PEER_SECRETS, TUNNEL_KEY}
    ),
    "database": frozenset(
        {"database-password", "database-ca.pem", "database-server.key", "database-server.crt"}
    ),
    "autoscaler": frozenset({CONTROLLER_CONFIG, CONTROLLER_SECRETS}),
}
# Secrets that belong together: of each group all are given, or none.
_GROUPS: Final[Mapping[Role, tuple[frozenset[str], ...]]] = {
    "web": (
        frozenset({"tls.key", "tls.crt"}),
        frozenset({"database-password", "database-ca.pem"}),
        frozenset(PEER_SECRETS),
    ),
    "database": (frozenset({"database-server.key", "database-server.crt"}),),
    "autoscaler": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One thing that may reach this machine: a port, and from where."""

    protocol: Protocol
    port: int
    sources: tuple[str, ...]  # CIDRs of either family, EDGE, or ROLE_SOURCE and a role

    @classmethod
    def read(cls, reader: Reader) -> Self:
        inbound = cls(
            protocol=reader.choice("protocol", get_args(Protocol)),
            port=reader.integer("port", 1, 65535),
            sources=reader.texts("sources", check=_source),
        )
        reader.finish()
        return inbound


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """What a machine is, /etc/flotilla/machine.json: structure only, nothing secret."""

    stack: str
    role: Role
    slot: str
    network: str  # the VPC's range, a CIDR
    inbound: tuple[Inbound, ...]
    processes: tuple[str, ...]  # systemd units that must be active
    ports: tuple[int, ...]  # TCP ports that must listen
    engine: Engine | Literal[""] = ""  # database role
    volume: str = ""  # database role: name of the block storage volume
    image: str = ""  # digest of the files that are laid on a plain distribution; empty: the image was baked

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        reader = Reader("machine.json", decode_object("machine.json", text))
        machine = cls(
            stack=reader.text("stack", _NAME),
            role=reader.choice("role", get_args(Role)),
            slot=reader.text("slot", _NAME),
            network=reader.checked("network", as_network),
            inbound=tuple(Inbound.read(item) for item in reader.children("inbound")),
            processes=reader.texts("processes", check=_unit),
            ports=reader.integers("ports", 1, 65535),
            engine=reader.choice("engine", (*get_args(Engine), ""), default=""),
            volume=reader.text("volume", _VOLUME, default=""),
            image=reader.text("image", _DIGEST, default=""),
        )
        reader.finish()
        return machine

    def to_json(self) -> str:
        return _canonical(asdict(self), indent=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSettings:
    """The gateway behind which the database is; the key for it travels as the secret TUNNEL_KEY."""

    host: str
    port: int
    user: str
    host_key: str  # what the gateway must show: type and key as in known_hosts

    @classmethod
    def read(cls, reader: Reader) -> Self:
        settings = cls(
            host=reader.checked("host", as_host),
            port=reader.integer("port", 1, 65535),
            user=reader.text("user", _LOGIN),
            host_key=reader.text("host_key", _HOST_KEY),
        )
        reader.finish()
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """Where the site's database is; its password travels as the secret `database-password`."""

    engine: Engine
    host: str  # address or name that the server's certificate carries
    port: int
    name: str
    user: str
    tunnel: TunnelSettings | None = None  # None: it is reached directly

    @classmethod
    def read(cls, reader: Reader) -> Self:
        tunnel = reader.optional_child("tunnel")
        settings = cls(
            engine=reader.choice("engine", get_args(Engine)),
            host=reader.checked("host", as_host),
            port=reader.integer("port", 1, 65535),
            name=reader.text("name", _IDENTIFIER),
            user=reader.text("user", _IDENTIFIER),
            tunnel=TunnelSettings.read(tunnel) if tunnel else None,
        )
        reader.finish()
        if tunnel and not is_name(settings.host):
            # The member finds the tunnel under the name that the server's certificate carries.
            raise ConfigError(
                f"database.host is {settings.host!r}; give its name, as there is a tunnel to it"
            )
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreSettings:
    """Where the stack's datastore is, an S3 bucket; its keys travel as the secrets DATASTORE_SECRETS."""

    endpoint: str  # URL of the service without a path; plain HTTP only on this machine itself
    bucket: str
    region: str

    @classmethod
    def read(cls, reader: Reader) -> Self:
        settings = cls(
            endpoint=reader.text("endpoint", _ENDPOINT),
            bucket=reader.text("bucket", _BUCKET),
            region=reader.text("region", _REGION),
        )
        reader.finish()
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a member is told that is not secret but known only after its birth, or changed without a rebirth."""

    database: DatabaseSettings | None = None
    datastore: DatastoreSettings | None = None
    server_names: tuple[str, ...] = ()  # host names the site answers to; a request for another is refused
    edge_ranges: tuple[str, ...] = ()  # CIDRs; fills the named set EDGE, and whose client address is believed
    origin_pull_ca: str = ""  # PEM; when given, only clients with a certificate of this CA are served
    ready_path: str = "/readyz"  # where the app says with status 200 that it can serve, database included
    live_path: str = "/livez"  # where the app says with status 200 that it works itself, asking nobody else
    release: str = ""  # the release the image must hold; empty: any
    manifest: str = ""  # how the digest of the image's manifest must begin; empty: any

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        return cls.read(Reader("settings", decode_object("settings", text)))

    def to_json(self) -> str:
        return _canonical(self.as_document(), indent=1)

    def as_document(self) -> dict[str, object]:
        """As JSON objects. What is not set since it came later is left out, for members whose image is older."""
        document = asdict(self)
        if self.database and self.database.tunnel is None:
            del document["database"]["tunnel"]
        return {key: value for key, value in document.items() if key != "datastore" or value is not None}

    @classmethod
    def read(cls, reader: Reader) -> Self:
        database = reader.optional_child("database")
        datastore = reader.optional_child("datastore")
        settings = cls(
            database=DatabaseSettings.read(database) if database else None,
            datastore=DatastoreSettings.read(datastore) if datastore else None,
            server_names=reader.texts("server_names", check=as_server_name, default=()),
            edge_ranges=reader.texts("edge_ranges", check=_edge_range, default=(), limit=MAX_EDGE_RANGES),
            origin_pull_ca=reader.checked("origin_pull_ca", as_optional_certificate, default=""),
            ready_path=reader.text("ready_path", _PATH, default="/readyz"),
            live_path=reader.text("live_path", _PATH, default="/livez"),
            release=reader.text("release", _RELEASE, default=""),
            manifest=reader.text("manifest", _MANIFEST, default=""),
        )
        reader.finish()
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What travels over SSH's stdin to `flotilla-receive`. A web member may get further secrets named `app-...`."""

    settings: Settings
    secrets: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_json(cls, text: str | bytes, role: Role) -> Self:
        reader = Reader("bundle", decode_object("bundle", text))
        settings = Settings.read(reader.child("settings"))
        secrets = reader.mapping("secrets")
        reader.finish()
        bundle = cls(
            settings=settings, secrets={name: _secret(role, name, secrets[name]) for name in sorted(secrets)}
        )
        bundle._check_together(role)
        return bundle

    def to_json(self) -> str:
        """Canonical: equal bundles give equal text."""
        return _canonical({"settings": self.settings.as_document(), "secrets": dict(self.secrets)})

    def digest(self) -> str:
        """SHA-256 of the canonical text, in hexadecimal; as it covers secrets, treat it as one where they are weak."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def _check_together(self, role: Role) -> None:
        names = set(self.secrets)
        for group in _GROUPS[role]:
            if names & group and not group <= names:
                missing = ", ".join(sorted(group - names))
                raise ConfigError(f"bundle.secrets: {missing} is missing; give {' and '.join(sorted(group))}")
        if role == "web" and not self.settings.server_names:
            raise ConfigError("bundle.settings.server_names is empty; give the host names of the site")
        if role == "database" and self.settings.database is None:
            raise ConfigError("bundle.settings.database is missing; a database machine needs name and user")
        if TUNNEL_KEY in names and not self._tunnel():
            raise ConfigError(
                f"bundle.secrets has {TUNNEL_KEY}, and bundle.settings.database names no tunnel"
            )
        if missing_secrets := sorted(self._needed(role) - names):
            raise ConfigError(f"bundle.secrets: {', '.join(missing_secrets)} missing for role {role}")

    def _needed(self, role: Role) -> frozenset[str]:
        opening = frozenset(DATASTORE_SECRETS if self.settings.datastore else ())
        if role != "web":
            return _SECRETS[role] | opening
        database = {"database-password", "database-ca.pem"} if self.settings.database else set()
        return opening | database | ({TUNNEL_KEY} if self._tunnel() else set())

    def _tunnel(self) -> TunnelSettings | None:
        return self.settings.database.tunnel if self.settings.database else None


def _canonical(value: object, indent: int | None = None) -> str:
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, sort_keys=True, indent=indent, separators=separators) + "\n"


def _source(text: str) -> str:
    if text == EDGE or source_role(text):
        return text
    return as_network(text)


def source_role(source: str) -> str:
    """The role whose machines a source of an Inbound names; empty when it names none."""
    role = source.removeprefix(ROLE_SOURCE)
    return role if role != source and _ROLE.fullmatch(role) else ""


def _edge_range(text: str) -> str:
    network = ipaddress.ip_network(as_network(text))
    widest = WIDEST_EDGE_PREFIX[network.version]
    if network.prefixlen < widest:
        raise ConfigError(f"wider than /{widest}, which no edge has; it would let everybody in")
    return str(network)


def _unit(text: str) -> str:
    if not _UNIT.fullmatch(text):
        raise ConfigError("not the name of a systemd service, socket or timer")
    return text


def _secret(role: Role, name: str, value: object) -> str:
    where = f"bundle.secrets.{name}"
    taken = _SECRETS[role] | _DATASTORE_ALL
    if name not in taken and not (role == "web" and _APP_SECRET.fullmatch(name)):
        known = ", ".join(sorted(taken)) + (" or app-<name>" if role == "web" else "")
        raise ConfigError(
            f"bundle.secrets has the unknown name {name[:80]!r}; a {role} machine takes {known}"
        )
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} must be a text that is not empty")
    most = MAX_DOCUMENT_BYTES if name.endswith(".json") else MAX_SECRET_BYTES
    if len(value.encode("utf-8", "surrogatepass")) > most:
        raise ConfigError(f"{where} is larger than {most} bytes")
    if name.endswith(".json"):
        decode_object(where, value)
        return value
    try:
        if name.endswith((".crt", "ca.pem")):
            return as_pem(value, "CERTIFICATE")
        if name.endswith(".key"):
            return as_pem(value, r"((RSA|EC) )?PRIVATE KEY")
        if name == TUNNEL_KEY:
            return as_pem(value, "OPENSSH PRIVATE KEY")
    except ConfigError as error:
        raise ConfigError(f"{where} is {error}") from None
    if not value.isprintable():
        raise ConfigError(f"{where} has characters that cannot be printed")
    return value
