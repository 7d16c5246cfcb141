"""What DNS records may hold: names, data and the fields of each type. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from sandbox.api.errors import unprocessable
from sandbox.store import Document

DEFAULT_TTL = 1800
NAME_SERVERS = ("ns1.digitalocean.com", "ns2.digitalocean.com", "ns3.digitalocean.com")

# https://docs.digitalocean.com/products/networking/dns/details/limits/ (TTL at least 30 seconds)
_LEAST_TTL, _MOST_TTL = 30, 2**31 - 1
_MOST_TEXT = 512
_SHORT, _BYTE = 65_535, 255
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_CAA_TAGS = frozenset({"issue", "issuewild", "iodef"})

# The numbers a type has beside its data; those of other types are ignored, as clients send zeros for them.
_NUMBERS: Mapping[str, Mapping[str, int]] = {
    "MX": {"priority": _SHORT},
    "SRV": {"priority": _SHORT, "port": _SHORT, "weight": _SHORT},
    "CAA": {"flags": _BYTE},
}


def host_is_valid(name: str) -> bool:
    return all(_LABEL.fullmatch(label) for label in name.lower().split("."))


def document(domain: str, kind: str, name: str, data: str, ttl: int = DEFAULT_TTL) -> Document:
    """A record without the numbers that only some types have."""
    empty = dict.fromkeys(("priority", "port", "weight", "flags", "tag"))
    return {"domain": domain, "type": kind, "name": name, "data": data, "ttl": ttl, **empty}


def build(domain: str, fields: Document) -> Document:
    """A record of these fields, checked and in normal form; ApiError 422 for the first thing that is wrong."""
    kind = fields["type"]
    if kind not in _DATA:
        raise unprocessable(f"Type {kind!r} is none of {', '.join(_DATA)}")
    name = _name(domain, kind, fields.get("name"))
    data = fields.get("data")
    if not data:
        raise unprocessable("Data can't be blank.")
    record = document(domain, kind, name, _DATA[kind](data), _ttl(fields.get("ttl")))
    for number, most in _NUMBERS.get(kind, {}).items():
        record[number] = _number(number, fields.get(number), most)
    if kind == "CAA":
        record["tag"] = _caa_tag(fields.get("tag"))
    return record


def check_neighbours(record: Document, others: Iterable[Document]) -> None:
    """ApiError 422 when a record cannot stand beside the others of its domain."""
    same_name = [other for other in others if other["name"] == record["name"]]
    if record["type"] == "CNAME" and same_name:
        raise unprocessable("CNAME records cannot share a name with other records")
    if any(other["type"] == "CNAME" for other in same_name):
        raise unprocessable("CNAME records cannot share a name with other records")
    told = [name for name in record if name not in ("id", "ttl")]
    if any(all(other[name] == record[name] for name in told) for other in same_name):
        raise unprocessable(
            f"Duplicate record: {record['type']} {record['name']} {record['data']} already exists"
        )


def _name(domain: str, kind: str, name: str | None) -> str:
    """The name relative to the domain: "@" for the domain itself; a name that ends in a dot is absolute."""
    if not name:
        if kind in ("MX", "SRV"):
            return "@"
        raise unprocessable("Name can't be blank.")
    text = name.lower()
    if text == f"{domain}.":
        return "@"
    if text.endswith("."):
        if not text.endswith(f".{domain}."):
            raise unprocessable(f"Name {name!r} is not in the domain {domain}")
        text = text.removesuffix(f".{domain}.")
    if text == "@" or text == "*" or host_is_valid(text.removeprefix("*.")):
        return text
    raise unprocessable(
        f"Name {name!r} only valid hostname characters are allowed. (a-z, A-Z, 0-9, ., _ and -)"
    )


def _ttl(ttl: int | None) -> int:
    if ttl is None:
        return DEFAULT_TTL
    if not _LEAST_TTL <= ttl <= _MOST_TTL:
        raise unprocessable(f"TTL must be greater than or equal to {_LEAST_TTL}, not {ttl}")
    return ttl


def _number(name: str, value: int | None, most: int) -> int:
    if value is None:
        raise unprocessable(f"{name.capitalize()} can't be blank.")
    if not 0 <= value <= most:
        raise unprocessable(f"{name.capitalize()} must be from 0 to {most}, not {value}")
    return value


def _caa_tag(tag: str | None) -> str:
    if tag not in _CAA_TAGS:
        raise unprocessable(f"Tag must be one of {', '.join(sorted(_CAA_TAGS))}, not {tag!r}")
    return tag


def _ipv4(data: str) -> str:
    try:
        return str(IPv4Address(data))
    except ValueError as error:
        raise unprocessable("Data IP address did not match IPv4 format (e.g. 255.255.255.255).") from error


def _ipv6(data: str) -> str:
    try:
        return str(IPv6Address(data))
    except ValueError as error:
        raise unprocessable(
            "Data IP address did not match IPv6 format (e.g. 2001:db8::ff00:42:8329)."
        ) from error


def _host(data: str) -> str:
    """A host is sent with the dot at its end and shown without it; "@" is the domain itself."""
    if data == "@":
        return data
    if not data.endswith("."):
        raise unprocessable("Data needs to end with a dot (.)")
    host = data.removesuffix(".").lower()
    if not host_is_valid(host):
        raise unprocessable(f"Data {data!r} is no host name")
    return host


def _authority(data: str) -> str:
    """A CAA value: a host as elsewhere, or for iodef a URL."""
    return data if "://" in data or data.startswith("mailto:") else _host(data)


def _text(data: str) -> str:
    if len(data) > _MOST_TEXT:
        raise unprocessable(f"Data is too long (maximum is {_MOST_TEXT} characters)")
    return data


_DATA: Mapping[str, Callable[[str], str]] = {
    "A": _ipv4,
    "AAAA": _ipv6,
    "CAA": _authority,
    "CNAME": _host,
    "MX": _host,
    "NS": _host,
    "SRV": _host,
    "TXT": _text,
}
