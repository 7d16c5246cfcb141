"""Cloudflare: DNS records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sandbox.providers.call import Call, Created, OperationError
from sandbox.providers.cloudflare.common import FAILED, GONE, from_api, moment, to_api, token
from sandbox.providers.rest import Collection
from sandbox.providers.schema import (
    ANYTHING,
    BOOLEAN,
    NUMBER,
    STRING,
    Property,
    Resource,
    by_name,
    computed,
    given,
    object_of,
    required,
    set_of,
)
from sandbox.providers.validators import between, one_of
from sandbox.providers.values import Values

Document = Mapping[str, Any]

_AUTOMATIC_TTL = 1
_TYPES = (
    *("A", "AAAA", "CNAME", "MX", "NS", "OPENPGPKEY", "PTR", "TXT", "CAA", "CERT", "DNSKEY", "DS", "HTTPS"),
    *("LOC", "NAPTR", "SMIMEA", "SRV", "SSHFP", "SVCB", "TLSA", "URI"),
)
_TEXTS = (
    *("certificate", "digest", "fingerprint", "latDirection", "longDirection", "publicKey", "regex"),
    *("replacement", "service", "tag", "target", "value"),
)
_NUMBERS = (
    *(
        "algorithm",
        "altitude",
        "digestType",
        "keyTag",
        "latDegrees",
        "latMinutes",
        "latSeconds",
        "longDegrees",
    ),
    *("longMinutes", "longSeconds", "matchingType", "order", "port", "precisionHorz", "precisionVert"),
    *("preference", "priority", "protocol", "selector", "size", "type", "usage", "weight"),
)
_DATA = object_of(
    *(given(name) for name in _TEXTS), *(given(name, NUMBER) for name in _NUMBERS), given("flags", ANYTHING)
)
_SETTINGS = object_of(given("flattenCname", BOOLEAN), given("ipv4Only", BOOLEAN), given("ipv6Only", BOOLEAN))

_PROPERTIES: dict[str, Property] = by_name(
    [
        required("zoneId", replaces=True),
        required("name"),
        required("type", replaces=True, checks=[one_of(*_TYPES, ignore_case=True)]),
        required("ttl", NUMBER),
        given("content", computed=True),
        given("comment"),
        given("data", _DATA),
        given("priority", NUMBER, checks=[between(0, 65535)]),
        given("privateRouting", BOOLEAN),
        given("proxied", BOOLEAN, default=False),
        given("settings", _SETTINGS, computed=True),
        given("tags", set_of(STRING), computed=True),
        given("includeShadowMetadata", BOOLEAN, computed=True),
        computed("commentModifiedOn", renewed=True),
        computed("createdOn"),
        computed("meta", renewed=True),
        computed("modifiedOn", renewed=True),
        computed("proxiable", BOOLEAN),
        computed("tagsModifiedOn", renewed=True),
    ]
)
# Sent with every request only to address the record, or only as a question.
_NOT_IN_BODY = ("zone_id", "include_shadow_metadata")


def _rules(inputs: Values) -> list[str]:
    if inputs.get("content") is not None and inputs.get("data") is not None:
        return ['Attribute "content" cannot be specified when "data" is specified']
    return []


def _body(call: Call) -> Document:
    body = {"proxied": False, **to_api(_PROPERTIES, call.inputs)}
    return {name: value for name, value in body.items() if name not in _NOT_IN_BODY}


def _update_body(call: Call) -> Document:
    return {"settings": {}, "tags": [], **_body(call)}


def _outputs(document: Document, call: Call) -> Values:
    answer = from_api(document)
    known = {**call.state, **call.inputs}
    return {
        "name": _name(str(answer["name"]), known.get("name")),
        "type": answer["type"],
        "ttl": answer["ttl"],
        "proxied": bool(answer.get("proxied")),
        "content": answer.get("content"),
        "comment": answer.get("comment"),
        "priority": answer.get("priority"),
        "data": answer.get("data"),
        "tags": answer.get("tags") or [],
        "settings": answer.get("settings") or {},
        "includeShadowMetadata": known.get("includeShadowMetadata", False),
        "createdOn": moment(answer.get("createdOn")),
        "modifiedOn": moment(answer.get("modifiedOn")),
        "commentModifiedOn": moment(answer.get("commentModifiedOn")),
        "tagsModifiedOn": moment(answer.get("tagsModifiedOn")),
        "proxiable": answer.get("proxiable"),
        "meta": None if document.get("meta") is None else json.dumps(document["meta"]),
    }


def _name(answered: str, given_name: Any) -> str:
    """The API answers with the full name; a program that gave a short one meant the same."""
    short = str(given_name or "")
    return short if short == "@" or answered.startswith(f"{short}.") else answered


class _Records(Collection):
    async def create(self, call: Call) -> Created:
        if call.inputs.get("proxied") and call.inputs["ttl"] != _AUTOMATIC_TTL:
            raise OperationError(
                "ttl must be set to 1 when `proxied` is true: when a DNS record is marked as `proxied` the TTL "
                "must be 1 as Cloudflare will control the TTL internally."
            )
        return await super().create(call)


DNS_RECORD = Resource(
    token=token("DnsRecord"),
    import_path=("zoneId",),
    properties=_PROPERTIES,
    rules=[_rules],
    operations=_Records(
        path="/zones/{zoneId}/dns_records",
        envelope="result",
        verbs=(FAILED, FAILED, FAILED, FAILED),
        identify=lambda document: str(document["id"]),
        body=_body,
        update_body=_update_body,
        outputs=_outputs,
        reads_back=False,
        gone_warning=GONE,
    ),
)

RESOURCES = (DNS_RECORD,)
