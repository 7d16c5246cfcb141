"""DNS records of a domain. Stored as {id, domain, type, name, data, ttl, ...}: names relative, hosts without last dot."""

from __future__ import annotations

from typing import Any, ClassVar

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.digitalocean import domains
from sandbox.api.digitalocean.record_rules import build, check_neighbours
from sandbox.api.errors import bad_request, not_found, unprocessable
from sandbox.store import Document

_TYPES = frozenset({"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SOA", "SRV", "TXT"})
# Types whose data is shown without the dot that it is sent with.
_HOSTS = frozenset({"CAA", "CNAME", "MX", "NS", "SRV"})


class _Fields(Body):
    """A record as clients send it but for its type; numbers that its type does not have are ignored."""

    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"priority", "port", "weight", "flags", "tag"})

    name: str | None = None
    data: str | None = None
    priority: int | None = None
    port: int | None = None
    ttl: int | None = None
    weight: int | None = None
    flags: int | None = None
    tag: str | None = None
    id: Any = None


class NewRecord(_Fields):
    type: str


class RecordChange(_Fields):
    """The description wants a type here too, but the real API does not: godo leaves an unset one out."""

    type: str | None = None


def view(record: Document) -> Document:
    return {name: value for name, value in record.items() if name != "domain"}


def list_all(call: Call) -> Answer:
    domain = domains.named(call)["name"]
    kind, name = call.query.get("type"), call.query.get("name")
    if kind is not None and kind not in _TYPES:
        raise bad_request(f"type must be one of {', '.join(sorted(_TYPES))}, not {kind!r}")
    found = domains.records_of(call.store, domain)
    if kind is not None:
        found = [record for record in found if record["type"] == kind]
    if name is not None:
        found = [record for record in found if _full_name(record) == name.lower().removesuffix(".")]
    return call.listing("domain_records", found, view)


def _full_name(record: Document) -> str:
    domain = str(record["domain"])
    return domain if record["name"] == "@" else f"{record['name']}.{domain}"


def create(call: Call) -> Answer:
    domain = domains.named(call)
    record = build(domain["name"], call.body(NewRecord).model_dump(exclude={"id"}))
    check_neighbours(record, domains.records_of(call.store, domain["name"]))
    number = call.store.next_number("record", first=350_000_001)
    record = {"id": number, **record}
    call.store.put("record", number, record)
    domains.changed(call.store, domain)
    return Answer(201, {"domain_record": view(record)})


def _named(call: Call) -> Document:
    domain = domains.named(call)["name"]
    record = call.store.get("record", call.number("record"))
    if record is None or record["domain"] != domain:
        raise not_found()
    return record


def show(call: Call) -> Answer:
    return Answer(200, {"domain_record": view(_named(call))})


def update(call: Call) -> Answer:
    """PUT and PATCH alike: what is sent is changed, the rest stays; the type is fixed."""
    record, body = _named(call), call.body(RecordChange)
    if body.type not in (None, record["type"]):
        raise unprocessable(f"Type of a record cannot be changed from {record['type']} to {body.type}")
    sent = {name: value for name, value in body.sent().items() if value is not None and name != "id"}
    if record["type"] == "SOA":
        changed = {**record, "ttl": sent.get("ttl", record["ttl"])}
    else:
        changed = {"id": record["id"], **build(record["domain"], {**_as_sent(record), **sent})}
    others = [one for one in domains.records_of(call.store, record["domain"]) if one["id"] != record["id"]]
    check_neighbours(changed, others)
    call.store.put("record", record["id"], changed)
    domains.changed(call.store, domains.named(call))
    return Answer(200, {"domain_record": view(changed)})


def _as_sent(record: Document) -> Document:
    """A stored record in the form of a request."""
    data = record["data"]
    dotted = record["type"] in _HOSTS and data != "@" and ":" not in data
    return {**record, "data": f"{data}." if dotted else data}


def delete(call: Call) -> Answer:
    record = _named(call)
    if record["type"] == "SOA":
        raise unprocessable("The SOA record of a domain cannot be deleted")
    call.store.delete("record", record["id"])
    domains.changed(call.store, domains.named(call))
    return NO_CONTENT


ENDPOINTS = (
    lists("/v2/domains/{domain}/records", list_all, "name", "type"),
    Endpoint("POST", "/v2/domains/{domain}/records", create),
    Endpoint("GET", "/v2/domains/{domain}/records/{record}", show),
    Endpoint("PUT", "/v2/domains/{domain}/records/{record}", update),
    Endpoint("PATCH", "/v2/domains/{domain}/records/{record}", update),
    Endpoint("DELETE", "/v2/domains/{domain}/records/{record}", delete),
)
