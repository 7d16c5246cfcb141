"""The kinds of values that stack config holds: each checks itself and says what is wrong with it.

A parser gets what stands in the config and returns the value the program works with, or raises ValueError with a
text that follows "KEY = VALUE: ". No parser may repeat the value: it could be a secret in the wrong place.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import struct
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import PlainValidator

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# A VPC is neither smaller than /28 nor larger than /16, and private: `ip_range` of "Create a New VPC" in
# https://docs.digitalocean.com/reference/api/digitalocean/
VPC_PREFIXES = range(16, 29)
RFC1918 = tuple(ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))

# Nobody administers a fleet from more addresses than this; a wider range is a slip of the keyboard.
WIDEST_ADMIN = {4: 16, 6: 32}

SSH_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)

# RFC 1035 section 2.3.4.
HOST_NAME_LENGTH = 253
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SLUG = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_REGION = re.compile(r"[a-z]{3}[0-9]")
ROLE_IMAGE = re.compile(r"(?P<role>[a-z]+)-\d{4}\.\d{2}\.\d{2}-[0-9a-f]+")
# With the beginnings of two digests, of what went into the image and of its manifest, as fleet/image.py names them.
_IMAGE_WITH_MANIFEST = re.compile(
    r"[a-z]+-\d{4}\.\d{2}\.\d{2}-[0-9a-f]{8}(?P<manifest>[0-9a-f]{8})([0-9a-f]{4})?"
)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 - pydantic turns only ValueError into a mistake
    if not value:
        raise ValueError("must not be empty")
    return value


def host_name(value: Any) -> str:
    """A full domain name in lower case, as DNS knows it."""
    text = _text(value)
    if "://" in text or "/" in text:
        raise ValueError("must be a bare host name such as www.foobar.com, without scheme or path")
    if text != text.lower():
        raise ValueError("must be in lower case")
    if len(text) > HOST_NAME_LENGTH:
        raise ValueError(f"must have at most {HOST_NAME_LENGTH} characters")
    labels = text.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError("must be a full domain name such as www.foobar.com")
    return text


def address(value: Any) -> str:
    """The IPv4 address of one machine; trusted sources of databases have no others."""
    try:
        return str(ipaddress.IPv4Address(_text(value)))
    except ValueError:
        raise ValueError("must be an IPv4 address such as 203.0.113.20") from None


def vpc_network(value: Any) -> ipaddress.IPv4Network:
    """The private range of the fleet's own network."""
    network = _network(_text(value))
    if not isinstance(network, ipaddress.IPv4Network) or not any(
        network.subnet_of(private) for private in RFC1918 if isinstance(private, ipaddress.IPv4Network)
    ):
        raise ValueError("must be a private IPv4 range, inside 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
    if network.prefixlen not in VPC_PREFIXES:
        raise ValueError(f"must be between /{VPC_PREFIXES[0]} and /{VPC_PREFIXES[-1]} large")
    return network


def admin_range(value: Any) -> IPNetwork:
    """A range that SSH is allowed from."""
    network = _network(_text(value))
    widest = WIDEST_ADMIN[network.version]
    if network.prefixlen == 0:
        raise ValueError(
            "would open SSH to the whole internet; give the address of the build machine, such as 203.0.113.7/32"
        )
    if network.prefixlen < widest:
        raise ValueError(
            f"is wider than /{widest}; give the address of the build machine, such as 203.0.113.7/32"
        )
    return network


def ssh_public_key(value: Any) -> str:
    """One line as in authorized_keys."""
    text = _text(value).strip()
    if "PRIVATE KEY" in text:
        raise ValueError(
            "is a private key; give the public one, the line of the .pub file, and make a new pair"
        )
    fields = text.split(None, 2)
    if len(fields) < 2 or fields[0] not in SSH_KEY_TYPES or "\n" in text:
        raise ValueError("must be one line such as `ssh-ed25519 AAAAC3Nza... name`")
    if not _names_its_type(fields[1], fields[0]):
        raise ValueError(
            "is damaged: the key is not of the type it begins with; copy the whole line of the .pub file"
        )
    return text


def size_slug(value: Any) -> str:
    """The cloud's name for a size of machine; whether it exists is asked at preview."""
    return _slug(value, "must be the name of a size such as s-1vcpu-1gb")


def region_slug(value: Any) -> str:
    """The cloud's name for a region; whether it exists is asked at preview."""
    text = _text(value)
    if not _REGION.fullmatch(text):
        raise ValueError("must be the name of a region such as lon1")
    return text


def image_name(value: Any) -> str:
    """A golden image's name, the number of a snapshot, or a distribution's name."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _slug(value, "must be an image such as web-2026.11.21-3f2a, a snapshot's number, or debian-13-x64")


def manifest_of(image: str) -> str:
    """How the digest of a baked image's manifest begins, by the image's name; empty when the name does not tell."""
    match = _IMAGE_WITH_MANIFEST.fullmatch(image)
    return match["manifest"] if match else ""


def is_pinned(image: str) -> bool:
    """Whether the image is one definite snapshot; a distribution's name means another image every few weeks."""
    return image.isdigit() or ROLE_IMAGE.fullmatch(image) is not None


def _slug(value: Any, problem: str) -> str:
    text = _text(value)
    if not _SLUG.fullmatch(text):
        raise ValueError(problem)
    return text


def _network(text: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("must be a range of addresses such as 203.0.113.7/32") from None
    raise ValueError(f"has bits set beyond its prefix; did you mean {meant}?")


def _names_its_type(blob: str, key_type: str) -> bool:
    try:
        raw = base64.b64decode(blob, validate=True)
        (length,) = struct.unpack(">I", raw[:4])
    except (binascii.Error, struct.error, ValueError):
        return False
    return raw[4 : 4 + length] == key_type.encode()


def _kind(parse: Callable[[Any], Any]) -> Any:
    return PlainValidator(parse)


HostName = Annotated[str, _kind(host_name)]
Address = Annotated[str, _kind(address)]
VpcNetwork = Annotated[ipaddress.IPv4Network, _kind(vpc_network)]
AdminRange = Annotated[IPNetwork, _kind(admin_range)]
SshPublicKey = Annotated[str, _kind(ssh_public_key)]
SizeSlug = Annotated[str, _kind(size_slug)]
RegionSlug = Annotated[str, _kind(region_slug)]
ImageName = Annotated[str, _kind(image_name)]
