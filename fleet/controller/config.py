"""What the controller is told: its config, and apart from it its secrets. The Pulumi program writes both, and they
travel in the node's bundle (fleet.config.CONTROLLER_CONFIG and CONTROLLER_SECRETS); only the standard library is used.

Both are read strictly. A version that this program does not know is an UnknownVersionError, so that a controller
can say so and go on with the last config that it could read.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, Protocol, Self, get_args

from fleet.reading import ConfigError, Reader, decode_object

VERSION: Final = 1
MAX_CONTENT: Final = 100 * 1024 * 1024  # a release travels in a delivery of a distribution's image
MAX_MEMBERS: Final = 1000  # components/schema.py
MAX_SECONDS: Final = 86_400

EdgeKind = Literal["cloudflare", "none"]
Laying = Literal["receive", "install"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SLOT = re.compile(r"(web|burst)-[1-9][0-9]{0,3}")
_BURST_SLOT = re.compile(r"burst-[1-9][0-9]{0,3}")
_HOST = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_ZONE_ID = re.compile(r"([0-9a-f]{32})?")
_SIZE = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
_TAG = re.compile(r"[A-Za-z0-9:_-]{1,255}")
_ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,60}")
_HOST_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]+( [^\n]*)?")
_CRON = re.compile(r"[ -~]{1,200}")


class UnknownVersionError(ConfigError):
    """The document was written for another version of this program."""


class HostKey(Protocol):
    """A machine's SSH host key in OpenSSH's formats, as fleet.identity derives it."""

    @property
    def private_openssh(self) -> str: ...
    @property
    def public_openssh(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstKey:
    """The SSH host key of one burst slot."""

    private_openssh: str = field(repr=False)
    public_openssh: str

    @classmethod
    def of(cls, key: HostKey) -> Self:
        return cls(private_openssh=key.private_openssh, public_openssh=key.public_openssh)


# A burst member's user data is what the program renders for a slot of this name with this host key; the node fills
# in its own. So burst members start from the payload of the same `pulumi up` as the slots, whatever the image of the
# node itself holds, and hundreds of them fit in one bundle.
BLANK_SLOT: Final = "flotilla-slot-to-be"
BLANK_KEY: Final = BurstKey(
    private_openssh="FLOTILLA-PRIVATE-KEY-TO-BE", public_openssh="FLOTILLA-PUBLIC-KEY-TO-BE"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """From each time that `cron` names, until the next schedule's, the fleet has so many members."""

    cron: str
    """Minute, hour, day of the month, month, day of the week."""
    members: int
    timezone: str = "UTC"

    @classmethod
    def read(cls, reader: Reader) -> Self:
        schedule = cls(
            cron=reader.text("cron", _CRON),
            members=reader.integer("members", 1, MAX_MEMBERS),
            timezone=reader.text("timezone", _ZONE_NAME, default="UTC"),
        )
        reader.finish()
        return schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How long a leaving member waits, in seconds, as for a slot: fleet/machine/drain.py."""

    propagation: int
    quiet: int
    cap: int

    @classmethod
    def read(cls, reader: Reader) -> Self:
        drain = cls(**{key: reader.integer(key, 0, MAX_SECONDS) for key in ("propagation", "quiet", "cap")})
        reader.finish()
        return drain


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Who tells visitors where the members are."""

    kind: EdgeKind
    zone: str
    """The zone that holds the domain; with kind `none` a domain at the cloud's own DNS."""
    zone_id: str = ""
    """Cloudflare's id of the zone; empty with kind `none`."""

    @classmethod
    def read(cls, reader: Reader) -> Self:
        edge = cls(
            kind=reader.choice("kind", get_args(EdgeKind)),
            zone=reader.text("zone", _HOST),
            zone_id=reader.text("zone_id", _ZONE_ID, default=""),
        )
        reader.finish()
        if bool(edge.zone_id) != (edge.kind == "cloudflare"):
            raise ConfigError(f"config.edge.zone_id is {edge.zone_id!r} with kind {edge.kind}")
        return edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What a burst member is made of: the same as a slot's droplet."""

    image: str
    size: str
    ssh_keys: tuple[str, ...]
    """Ids or fingerprints of keys at the cloud."""
    tags: tuple[str, ...]
    """`<stack>`, `<stack>-web` and `<stack>-burst`."""
    user_data: str = field(repr=False)
    """Rendered for BLANK_SLOT with BLANK_KEY."""
    ipv6: bool = False

    @classmethod
    def read(cls, reader: Reader) -> Self:
        burst = cls(
            image=reader.text("image", _ID),
            size=reader.text("size", _SIZE),
            ssh_keys=reader.texts("ssh_keys", check=_id),
            tags=reader.texts("tags", check=_tag),
            user_data=reader.checked("user_data", _blank_payload),
            ipv6=reader.flag("ipv6", default=False),
        )
        reader.finish()
        return burst

    def payload(self, slot: str, key: HostKey) -> str:
        """The user data of one member; JSON texts are YAML too."""
        return (
            self.user_data.replace(BLANK_SLOT, slot)
            .replace(BLANK_KEY.private_openssh, json.dumps(key.private_openssh))
            .replace(BLANK_KEY.public_openssh, json.dumps(key.public_openssh))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerConfig:
    """Everything that the controller goes by, nothing of it secret. Equal configs give equal texts."""

    stack: str
    domain: str
    region: str
    vpc: str
    """The cloud's id of the private network."""
    network: str
    """Its range, a CIDR."""
    count: int
    """How many slots Pulumi keeps: never fewer than so many are to serve."""
    max: int
    """How many members there may be at most, slots and burst members together."""
    cooldown_seconds: int
    drain: Drain
    edge: Edge
    burst: Burst
    host_keys: Mapping[str, str]
    """Public SSH host keys of the slots `web-1` to `web-<count>`, each a line as in authorized_keys."""
    schedules: tuple[Schedule, ...] = ()
    target_cpu: int | None = None
    """Percent that the members' CPUs are to be busy; None: the CPU does not matter."""
    version: int = VERSION

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises ConfigError that names the key; UnknownVersionError for one of another version."""
        reader = _versioned("config", text)
        config = cls(
            stack=reader.text("stack", _NAME),
            domain=reader.text("domain", _HOST),
            region=reader.text("region", _SIZE),
            vpc=reader.text("vpc", _ID),
            network=reader.checked("network", _network),
            count=reader.integer("count", 1, MAX_MEMBERS),
            max=reader.integer("max", 1, MAX_MEMBERS),
            cooldown_seconds=reader.integer("cooldown_seconds", 0, MAX_SECONDS),
            drain=Drain.read(reader.child("drain")),
            edge=Edge.read(reader.child("edge")),
            burst=Burst.read(reader.child("burst")),
            host_keys=_host_keys(reader.mapping("host_keys")),
            schedules=tuple(Schedule.read(item) for item in reader.children("schedules")),
            target_cpu=reader.optional_integer("target_cpu", 1, 100),
        )
        reader.finish()
        return config

    def to_json(self) -> str:
        return _canonical(asdict(self))

    @property
    def stack_tag(self) -> str:
        """Without it nothing may be touched."""
        return self.stack

    @property
    def web_tag(self) -> str:
        return f"{self.stack}-web"

    @property
    def burst_tag(self) -> str:
        return f"{self.stack}-burst"

    def burst_slots(self) -> tuple[str, ...]:
        """The places beyond the slots; none when `max` leaves no room."""
        return tuple(f"burst-{number}" for number in range(1, self.max - self.count + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a web member of one image is handed over SSH's standard input."""

    laying: Laying
    """`install` for a distribution's image: its files come with the bundle (fleet.commands.INSTALL_AND_RECEIVE)."""
    content: str = field(repr=False)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        delivery = cls(
            laying=reader.choice("laying", get_args(Laying)), content=reader.long_text("content", MAX_CONTENT)
        )
        reader.finish()
        return delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSecrets:
    """What the controller holds to do its work. Equal secrets give equal texts."""

    cloud_token: str = field(repr=False)
    edge_token: str = field(repr=False)
    """Empty where there is no edge."""
    deploy_key: str = field(repr=False)
    """The private SSH key that every machine of the stack lets in as root, OpenSSH PEM."""
    deliveries: Mapping[str, Delivery] = field(repr=False)
    """By the image's id: during a rollout in parts there are two."""
    burst_keys: Mapping[str, BurstKey] = field(repr=False)
    """SSH host keys of `burst-1` to `burst-<max>`, so that none is missing when `count` goes down."""
    version: int = VERSION

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises ConfigError that names the key, never a value; UnknownVersionError for one of another version."""
        reader = _versioned("secrets", text)
        secrets = cls(
            cloud_token=reader.long_text("cloud_token", 1000),
            edge_token=reader.long_text("edge_token", 1000),
            deploy_key=reader.long_text("deploy_key", 10_000),
            deliveries={
                image: Delivery.read(Reader(f"secrets.deliveries.{image[:80]}", _object(value)))
                for image, value in sorted(reader.mapping("deliveries").items())
            },
            burst_keys={
                slot: _burst_key(slot, value) for slot, value in sorted(reader.mapping("burst_keys").items())
            },
        )
        reader.finish()
        return secrets

    def to_json(self) -> str:
        return _canonical(asdict(self))


def _versioned(where: str, text: str | bytes) -> Reader:
    document = decode_object(where, text)
    version = document.pop("version", None)
    if version != VERSION:
        raise UnknownVersionError(
            f"{where}.version is {str(version)[:20]!r} and this controller reads version {VERSION}; bring the node's image "
            "and the program to the same release"
        )
    return Reader(where, document)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ConfigError(f"not a network such as 10.20.0.0/20 ({error})") from error


def _id(text: str) -> str:
    # Fingerprints have colons, which other ids do not.
    if not _ID.fullmatch(text.replace(":", "")):
        raise ConfigError("not an id")
    return text


def _tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise ConfigError("not a tag")
    return text


def _blank_payload(text: str) -> str:
    marks = (BLANK_SLOT, BLANK_KEY.private_openssh, BLANK_KEY.public_openssh)
    if not text.startswith("#cloud-config\n") or not all(mark in text for mark in marks):
        raise ConfigError(f"not a payload rendered for the slot {BLANK_SLOT} with BLANK_KEY")
    return text


def _host_keys(given: Mapping[str, Any]) -> dict[str, str]:
    for slot, line in given.items():
        if not _SLOT.fullmatch(slot):
            raise ConfigError(f"config.host_keys has the name {slot[:80]!r}, which is no slot's")
        if not isinstance(line, str) or not _HOST_KEY.fullmatch(line):
            raise ConfigError(f"config.host_keys.{slot} is not a public ed25519 key")
    return dict(sorted(given.items()))


def _burst_key(slot: str, value: object) -> BurstKey:
    if not _BURST_SLOT.fullmatch(slot):
        raise ConfigError(f"secrets.burst_keys has the name {slot[:80]!r}, which is no burst slot's")
    reader = Reader(f"secrets.burst_keys.{slot}", _object(value))
    key = BurstKey(
        private_openssh=reader.long_text("private_openssh", 10_000),
        public_openssh=reader.text("public_openssh", _HOST_KEY),
    )
    reader.finish()
    return key


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
