"""DNS records in the store: what may stand beside what, and how they are found."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from sandbox.cloudflare import record_rules
from sandbox.cloudflare.clock import timestamp
from sandbox.cloudflare.envelope import ApiError
from sandbox.cloudflare.names import complete
from sandbox.cloudflare.record_rules import Network, RecordFields
from sandbox.store import Document, Store

KIND = "cf_record"
# https://developers.cloudflare.com/dns/manage-dns-records/#record-quota (Pro)
RECORDS_PER_ZONE = 3500
_ADDRESS_TYPES = frozenset({"A", "AAAA", "CNAME"})
_ORDERS = frozenset({"type", "name", "content", "ttl", "proxied"})


def of_zone(store: Store, zone: str) -> list[Document]:
    return [record for record in store.all(KIND) if record["zone_id"] == zone]


def get(store: Store, zone: str, record: str) -> Document:
    found = store.get(KIND, record)
    if found is None or found["zone_id"] != zone:
        raise ApiError(404, 81044, "Record does not exist.")
    return found


def create(store: Store, zone: Document, body: Document, own_network: Network) -> Document:
    fields = record_rules.parse(body, zone["name"], own_network)
    with store.transaction():
        others = of_zone(store, zone["id"])
        if len(others) >= RECORDS_PER_ZONE:
            raise ApiError(400, 81045, f"Record quota exceeded: this zone has {RECORDS_PER_ZONE} records.")
        refuse_conflict(fields, others)
        now = timestamp()
        record = {"id": secrets.token_hex(16), "zone_id": zone["id"], "created_on": now}
        record |= _document(fields, now)
        store.put(KIND, record["id"], record)
    return record


def replace(store: Store, zone: Document, record: Document, body: Document, own_network: Network) -> Document:
    """PUT: what the body leaves out falls back to its default."""
    fields = record_rules.parse(body, zone["name"], own_network)
    with store.transaction():
        others = [other for other in of_zone(store, zone["id"]) if other["id"] != record["id"]]
        refuse_conflict(fields, others)
        changed = {key: record[key] for key in ("id", "zone_id", "created_on")}
        changed |= _document(fields, timestamp())
        store.put(KIND, record["id"], changed)
    return changed


def update(store: Store, zone: Document, record: Document, body: Document, own_network: Network) -> Document:
    """PATCH: what the body leaves out stays."""
    return replace(store, zone, record, record_rules.merge(record, body), own_network)


def shown(record: Document) -> Document:
    """A record as the API answers it."""
    document = {key: value for key, value in record.items() if key != "zone_id"}
    return {key: value for key, value in document.items() if value is not None or key == "comment"}


def refuse_conflict(fields: RecordFields, others: list[Document]) -> None:
    """ApiError when the zone's other records leave no place for this one."""
    beside = [other for other in others if other["name"] == fields.name]
    kinds = {other["type"] for other in beside}
    if any(other["type"] == fields.type and other["content"] == fields.content for other in beside):
        raise ApiError(400, 81058, "An identical record already exists.")
    if fields.type in ("CNAME", "NS") and kinds & _ADDRESS_TYPES:
        raise ApiError(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")
    if fields.type in ("A", "AAAA") and "CNAME" in kinds:
        raise ApiError(400, 81054, "A CNAME record with that host already exists.")
    if fields.type in _ADDRESS_TYPES and "NS" in kinds:
        raise ApiError(400, 81056, "NS records with that host already exist.")


def matching(store: Store, zone: Document, wanted: Mapping[str, str]) -> list[Document]:
    """The records that fit the filters of `GET /dns_records`; an unknown filter or operator is refused."""
    tests = [
        _test(field, value, zone["name"])
        for field, value in wanted.items()
        if field not in ("page", "per_page", "match", "order", "direction", "tag_match")
    ]
    combine = any if wanted.get("match") == "any" and tests else all
    found = [record for record in of_zone(store, zone["id"]) if combine(test(record) for test in tests)]
    order = wanted.get("order")
    if order is None:
        return found
    if order not in _ORDERS:
        raise _bad_filter("order", order)
    return sorted(found, key=lambda record: record[order], reverse=wanted.get("direction") == "desc")


_Test = Callable[[Document], bool]


def _test(field: str, value: str, zone: str) -> _Test:
    name, _, operator = field.partition(".")
    if name == "type":
        return lambda record: record["type"] == value.upper()
    if name == "proxied":
        if value not in ("true", "false"):
            raise _bad_filter(field, value)
        return lambda record: record["proxied"] is (value == "true")
    if name == "search":
        return lambda record: value.lower() in f"{record['name']} {record['content']}".lower()
    if name == "tag":
        return _tag_test(operator, value)
    if name in ("name", "content", "comment"):
        wanted = complete(value, zone) if name == "name" and operator in ("", "exact") else value
        return _text_test(name, operator, wanted)
    raise _bad_filter(field, value)


def _text_test(name: str, operator: str, value: str) -> _Test:
    low = value.lower()

    def text(record: Document) -> str:
        return (record[name] or "").lower()

    tests: dict[str, _Test] = {
        "": lambda record: text(record) == low,
        "exact": lambda record: text(record) == low,
        "contains": lambda record: low in text(record),
        "startswith": lambda record: text(record).startswith(low),
        "endswith": lambda record: text(record).endswith(low),
        "present": lambda record: bool(text(record)),
        "absent": lambda record: not text(record),
    }
    if operator not in tests:
        raise _bad_filter(f"{name}.{operator}", value)
    return tests[operator]


def _tag_test(operator: str, value: str) -> _Test:
    def tags(record: Document) -> list[str]:
        return [tag.lower() for tag in record["tags"]]

    low = value.lower()
    tests: dict[str, _Test] = {
        "": lambda record: low in tags(record),
        "exact": lambda record: low in tags(record),
        "present": lambda record: any(tag.split(":")[0] == low for tag in tags(record)),
        "absent": lambda record: all(tag.split(":")[0] != low for tag in tags(record)),
        "contains": lambda record: any(low in tag for tag in tags(record)),
        "startswith": lambda record: any(tag.startswith(low) for tag in tags(record)),
        "endswith": lambda record: any(tag.endswith(low) for tag in tags(record)),
    }
    if operator not in tests:
        raise _bad_filter(f"tag.{operator}", value)
    return tests[operator]


def _bad_filter(field: str, value: str) -> ApiError:
    return ApiError(400, 1002, f"Invalid value for filter {field}: {value!r}")


def _document(fields: RecordFields, now: str) -> Document:
    return {
        "name": fields.name,
        "type": fields.type,
        "content": fields.content,
        "proxiable": fields.type in record_rules.PROXIABLE,
        "proxied": fields.proxied,
        "ttl": fields.ttl,
        "settings": {},
        "meta": {},
        "comment": fields.comment,
        "tags": list(fields.tags),
        "priority": fields.priority,
        "data": fields.data,
        "modified_on": now,
    }
