"""DigitalOcean: domains and their records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.providers.call import Call
from sandbox.providers.digitalocean.common import token
from sandbox.providers.rest import Collection
from sandbox.providers.schema import INTEGER, Naming, Resource, by_name, computed, given, required
from sandbox.providers.validators import at_least, between, not_empty, one_of
from sandbox.providers.values import Values

Document = Mapping[str, Any]

# Records whose data is a host name; the plugin writes it with the closing dot, the API without.
_HOST_TYPES = frozenset({"CNAME", "MX", "NS", "SRV", "CAA"})
_NUMBERS = ("port", "priority", "weight", "flags")

DOMAIN = Resource(
    token=token("Domain"),
    records_failed_updates=True,
    properties=by_name(
        [
            required("name", replaces=True, checks=[not_empty]),
            given("ipAddress", replaces=True, checks=[not_empty]),
            computed("domainUrn"),
            computed("ttl", INTEGER),
        ]
    ),
    operations=Collection(
        path="/v2/domains",
        envelope="domain",
        verbs=("Error creating Domain: ", "Error retrieving domain: ", "", "Error deleting Domain: "),
        identify=lambda document: str(document["name"]),
        body=lambda call: (
            {"name": call.inputs["name"]}
            | ({"ip_address": call.inputs["ipAddress"]} if call.inputs.get("ipAddress") else {})
        ),
        outputs=lambda document, _call: {
            "name": document["name"],
            "domainUrn": f"do:domain:{document['name']}",
            "ttl": document.get("ttl"),
        },
    ),
)


def _record_body(call: Call) -> Document:
    inputs = call.inputs
    body: Values = {"name": inputs.get("name", ""), "data": inputs["value"]}
    body |= {name: inputs.get(name, 0) for name in _NUMBERS}
    body |= {name: inputs[name] for name in ("ttl", "tag") if inputs.get(name)}
    return body


def _record_outputs(document: Document, call: Call) -> Values:
    data, domain = document["data"], {**call.state, **call.inputs}["domain"]
    if document["type"] in _HOST_TYPES and data != "@" and document.get("tag") != "iodef":
        data += "."
    return {
        "name": document["name"],
        "type": document["type"],
        "value": data,
        **{name: document.get(name) or 0 for name in _NUMBERS},
        "ttl": document["ttl"],
        "tag": document.get("tag") or None,
        "fqdn": full_name(document["name"], domain),
    }


def full_name(name: str, domain: str) -> str:
    """The name under which the record answers."""
    if name == "@":
        return domain
    lowered = name.lower()
    return lowered.removesuffix(".") if lowered.endswith(f"{domain}.") else f"{name}.{domain}"


def _record_rules(inputs: Values) -> Iterable[str]:
    needed = {"MX": ["priority"], "SRV": ["priority", "weight", "port"], "CAA": ["flags", "tag"]}
    kind = inputs["type"]
    for name in needed.get(kind, ()):
        if inputs.get(name) is None:
            yield f"`{name}` is required for when type is `{kind}`"


def _same_name(old: Any, new: Any, inputs: Values) -> bool:
    domain = f"{inputs.get('domain')}."
    return bool((old == "@" and new == domain) or f"{old}.{domain}" == new)


def _same_value(old: Any, new: Any, inputs: Values) -> bool:
    domain = f"{inputs.get('domain')}."
    return bool((old == "@" and new == domain) or old == f"{new}.{domain}")


DNS_RECORD = Resource(
    token=token("DnsRecord"),
    import_path=("domain",),
    import_separator=",",
    naming=Naming(),
    records_failed_updates=True,
    rules=[_record_rules],
    properties=by_name(
        [
            required("domain", replaces=True, checks=[not_empty]),
            required(
                "type",
                replaces=True,
                checks=[one_of("A", "AAAA", "CAA", "CNAME", "MX", "NS", "TXT", "SRV", "SOA")],
            ),
            given("name", checks=[not_empty], same=_same_name),
            required("value", same=_same_value),
            given("port", INTEGER, checks=[between(0, 65535)]),
            given("priority", INTEGER, checks=[between(0, 65535)]),
            given("weight", INTEGER, checks=[between(0, 65535)]),
            given("ttl", INTEGER, computed=True, checks=[at_least(1)]),
            given("flags", INTEGER, checks=[between(0, 255)]),
            given("tag", checks=[one_of("issue", "issuewild", "iodef")]),
            computed("fqdn"),
        ]
    ),
    operations=Collection(
        path="/v2/domains/{domain}/records",
        envelope="domain_record",
        verbs=("Failed to create record: ", "", "Failed to update record: ", "Error deleting record: "),
        identify=lambda document: str(document["id"]),
        body=lambda call: {"type": call.inputs["type"], **_record_body(call)},
        update_body=_record_body,
        outputs=_record_outputs,
        gone_is_deleted=True,
    ),
)

RESOURCES = (DOMAIN, DNS_RECORD)
