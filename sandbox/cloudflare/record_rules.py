"""What Cloudflare accepts as a DNS record; pure, the store is not asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sandbox.cloudflare.envelope import ApiError, invalid_body, refuse_unknown
from sandbox.cloudflare.names import complete, is_hostname
from sandbox.store import Document

Network = ipaddress.IPv4Network

PROXIABLE = frozenset({"A", "AAAA", "CNAME"})
AUTOMATIC = 1
# https://developers.cloudflare.com/dns/manage-dns-records/reference/ttl/
TTL_SECONDS = range(60, 86_400 + 1)
# https://developers.cloudflare.com/dns/manage-dns-records/reference/record-attributes/ (paid plans)
COMMENT_CHARACTERS = 500
TAGS = 20
_TXT_CHARACTERS = 2048

_WRITABLE = frozenset(
    {"name", "type", "content", "ttl", "proxied", "comment", "tags", "settings", "priority", "data"}
)
# Clients send back what they read; these are accepted and have no effect.
_READ_ONLY = frozenset(
    {
        "id",
        "zone_id",
        "zone_name",
        "proxiable",
        "locked",
        "meta",
        "created_on",
        "modified_on",
        "comment_modified_on",
        "tags_modified_on",
    }
)


@dataclass(frozen=True, slots=True)
class RecordFields:
    """The writable part of a record, checked and in Cloudflare's own spelling."""

    name: str
    type: str
    content: str
    ttl: int = AUTOMATIC
    proxied: bool = False
    comment: str | None = None
    tags: tuple[str, ...] = ()
    priority: int | None = None
    data: Document | None = None


def parse(body: Document, zone: str, own_network: Network) -> RecordFields:
    """Check a whole record as POST and PUT send it; ApiError says what is wrong, as Cloudflare does.

    Addresses in `own_network` count as public, whatever they are elsewhere.
    """
    refuse_unknown(body, _WRITABLE | _READ_ONLY)
    kind = _text(body, "type").upper()
    if kind not in _CONTENT:
        raise _refusal(9001, f"DNS record type {kind!r} is invalid.")
    name = complete(_text(body, "name"), zone)
    if not is_hostname(name, wildcard=True):
        raise _refusal(9000, "DNS name is invalid.")
    fields = RecordFields(
        name=name,
        type=kind,
        content="",
        ttl=_ttl(body.get("ttl", AUTOMATIC)),
        proxied=_flag(body.get("proxied", False)),
        comment=_comment(body.get("comment")),
        tags=_tags(body.get("tags") or []),
    )
    if not isinstance(body.get("settings") or {}, dict):
        raise invalid_body("Request body is invalid: settings must be an object.")
    fields = _CONTENT[kind](fields, body)
    return _proxied(fields, own_network) if fields.proxied else fields


def merge(stored: Document, changes: Document) -> Document:
    """The whole record that a PATCH asks for."""
    refuse_unknown(changes, _WRITABLE | _READ_ONLY)
    kept = {field: stored[field] for field in _WRITABLE if field in stored and field != "settings"}
    if "content" in changes:
        kept.pop("data", None)
    return kept | {field: value for field, value in changes.items() if field in _WRITABLE}


def _proxied(fields: RecordFields, own_network: Network) -> RecordFields:
    if fields.type not in PROXIABLE:
        raise ApiError(400, 9004, "This record type cannot be proxied.")
    if fields.type != "CNAME" and not _reachable(fields.content, own_network):
        raise ApiError(400, 9003, f"Target {fields.content} is not allowed for a proxied record.")
    # The TTL of a proxied record is Cloudflare's own affair.
    return replace(fields, ttl=AUTOMATIC)


def _reachable(address: str, own_network: Network) -> bool:
    parsed = ipaddress.ip_address(address)
    if parsed in own_network:
        return True
    private = [
        ipaddress.ip_network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
    ]
    reserved = parsed.is_loopback or parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified
    return not reserved and not any(parsed in network for network in private)


def _refusal(code: int, message: str) -> ApiError:
    return ApiError(400, code, message)


def _text(body: Document, field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value.strip():
        raise _refusal(9000 if field == "name" else 1004, f"DNS Validation Error: {field} is required.")
    return value


def _ttl(value: Any) -> int:
    # Providers written in Go send 1.0 as readily as 1.
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    if not whole or (value != AUTOMATIC and int(value) not in TTL_SECONDS):
        raise _refusal(9021, "TTL must be between 60 and 86400 seconds, or 1 for Automatic.")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid_body("Request body is invalid: proxied must be a boolean.")
    return value


def _comment(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > COMMENT_CHARACTERS:
        raise _refusal(9300, f"DNS record comment must be a text of at most {COMMENT_CHARACTERS} characters.")
    return value


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) and tag for tag in value):
        raise _refusal(9301, "DNS record tags must be a list of texts.")
    if len(value) > TAGS:
        raise _refusal(9302, f"DNS record has {len(value)} tags, exceeding the quota of {TAGS}.")
    return tuple(value)


def _a(fields: RecordFields, body: Document) -> RecordFields:
    try:
        address = ipaddress.IPv4Address(_content(body))
    except ValueError as error:
        raise _refusal(9005, "Content for A record must be a valid IPv4 address.") from error
    return replace(fields, content=str(address))


def _aaaa(fields: RecordFields, body: Document) -> RecordFields:
    try:
        address = ipaddress.IPv6Address(_content(body))
    except ValueError as error:
        raise _refusal(9006, "Content for AAAA record must be a valid IPv6 address.") from error
    return replace(fields, content=str(address))


def _cname(fields: RecordFields, body: Document) -> RecordFields:
    target = _host(body, 9007, "CNAME")
    if target == fields.name:
        raise _refusal(9039, "CNAME content cannot reference itself.")
    return replace(fields, content=target)


def _ns(fields: RecordFields, body: Document) -> RecordFields:
    return replace(fields, content=_host(body, 9010, "NS"))


def _mx(fields: RecordFields, body: Document) -> RecordFields:
    return replace(fields, content=_host(body, 9009, "MX"), priority=_number(body, "priority"))


def _txt(fields: RecordFields, body: Document) -> RecordFields:
    text = _content(body)
    if not text or len(text) > _TXT_CHARACTERS:
        raise _refusal(9015, f"Content for TXT record must have 1 to {_TXT_CHARACTERS} characters.")
    return replace(fields, content=text)


def _srv(fields: RecordFields, body: Document) -> RecordFields:
    data = _data(body, frozenset({"priority", "weight", "port", "target"}))
    numbers = {field: _number(data, field) for field in ("priority", "weight", "port")}
    target = data["target"]
    if not isinstance(target, str) or not is_hostname(target.lower().removesuffix(".")):
        raise _refusal(9101, "target is a required data field and must be a host name.")
    target = target.lower().removesuffix(".")
    content = f"{numbers['weight']} {numbers['port']} {target}"
    return replace(fields, content=content, priority=numbers["priority"], data={**numbers, "target": target})


def _caa(fields: RecordFields, body: Document) -> RecordFields:
    data = _data(body, frozenset({"flags", "tag", "value"}))
    tag, value = data["tag"], data["value"]
    if tag not in ("issue", "issuewild", "iodef") or not isinstance(value, str):
        raise _refusal(9101, "tag must be issue, issuewild or iodef, and value a text.")
    flags = _number(data, "flags", most=255)
    checked = {"flags": flags, "tag": tag, "value": value}
    return replace(fields, content=f'{flags} {tag} "{value}"', data=checked)


_CONTENT: dict[str, Callable[[RecordFields, Document], RecordFields]] = {
    "A": _a,
    "AAAA": _aaaa,
    "CNAME": _cname,
    "MX": _mx,
    "NS": _ns,
    "TXT": _txt,
    "SRV": _srv,
    "CAA": _caa,
}


def _content(body: Document) -> str:
    content = body.get("content")
    return content.strip() if isinstance(content, str) else ""


def _host(body: Document, code: int, kind: str) -> str:
    name = _content(body).lower().removesuffix(".")
    numeric = name.replace(".", "").isdigit()
    if numeric or not is_hostname(name):
        raise _refusal(code, f"Content for {kind} record is invalid.")
    return name


def _number(body: Document, field: str, *, most: int = 65_535) -> int:
    value = body.get(field)
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    if value is None or not whole or not 0 <= value <= most:
        raise _refusal(9101, f"{field} is a required data field and must be between 0 and {most}.")
    return int(value)


def _data(body: Document, fields: frozenset[str]) -> Document:
    data = body.get("data")
    if not isinstance(data, dict):
        raise _refusal(9100, f"{body['type']} record needs a data object with {', '.join(sorted(fields))}.")
    for field in sorted(fields):
        if field not in data:
            raise _refusal(9101, f"{field} is a required data field.")
    return data
