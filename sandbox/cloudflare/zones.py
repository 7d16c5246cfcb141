"""Zones and the one account that owns them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

from sandbox.cloudflare import origin_pulls, records, zone_settings
from sandbox.cloudflare.clock import timestamp
from sandbox.cloudflare.envelope import ApiError, invalid_body, refuse_unknown
from sandbox.cloudflare.names import is_hostname
from sandbox.store import Document, Store

KIND = "cf_zone"
_ACCOUNT = "cf_account"
_NAME_SERVERS = ("ada.ns.cloudflare.com", "hank.ns.cloudflare.com")
_NOT_FILTERS = frozenset({"page", "per_page", "match", "order", "direction"})
# The retry on another origin and 3,500 records per zone belong to this plan and the ones above.
_PLAN = {"id": "94f3b7b768b0458b56d2cac4fe5ec0f9", "name": "Pro Website", "legacy_id": "pro"}


def account(store: Store) -> Document:
    """The account of the sandbox, made at first sight."""
    found = store.get(_ACCOUNT, "current")
    if found is None:
        found = {
            "id": secrets.token_hex(16),
            "name": "Flotilla sandbox",
            "type": "standard",
            "settings": {"enforce_twofactor": False, "abuse_contact_email": None},
            "created_on": timestamp(),
        }
        store.put(_ACCOUNT, "current", found)
    return found


def get(store: Store, zone: str) -> Document:
    found = store.get(KIND, zone)
    if found is None:
        raise ApiError(404, 1001, "Invalid zone identifier")
    return found


def create(store: Store, body: Document) -> Document:
    """Take a domain over. The sandbox's registrar delegates it at once, so the zone is active."""
    refuse_unknown(body, frozenset({"name", "account", "type", "jump_start", "paused"}))
    name = body.get("name")
    if not isinstance(name, str) or "." not in name or not is_hostname(name.lower()):
        raise ApiError(400, 1049, f"{name} is not a registered domain")
    if body.get("type", "full") != "full":
        raise ApiError(
            400, 1003, f"Zone type {body['type']!r} is not offered: the local edge needs a full zone"
        )
    owner = _owner(store, body.get("account"))
    name = name.lower()
    if any(zone["name"] == name for zone in store.all(KIND)):
        raise ApiError(400, 1061, f"{name} already exists")
    now = timestamp()
    zone: Document = {
        # The id follows from the name, so that stack files naming it stay true over a new sandbox.
        "id": hashlib.sha256(f"zone {name}".encode()).hexdigest()[:32],
        "name": name,
        "status": "active",
        "paused": False,
        "type": "full",
        "development_mode": 0,
        "name_servers": list(_NAME_SERVERS),
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "created_on": now,
        "modified_on": now,
        "activated_on": now,
        "meta": {"step": 2, "custom_certificate_quota": 0, "page_rule_quota": 20, "phishing_detected": False},
        "owner": {"id": None, "type": "user", "email": None},
        "account": {"id": owner["id"], "name": owner["name"]},
        "tenant": {"id": None, "name": None},
        "tenant_unit": {"id": None},
        "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:edit", "#zone:read"],
        "plan": _PLAN,
    }
    store.put(KIND, zone["id"], zone)
    return zone


def edit(store: Store, zone: Document, body: Document) -> Document:
    """`PATCH /zones/{id}`: pausing, one property per call as Cloudflare demands."""
    refuse_unknown(body, frozenset({"paused", "type", "vanity_name_servers", "plan"}))
    if set(body) != {"paused"} or not isinstance(body["paused"], bool):
        raise invalid_body("Request body is invalid: the sandbox can change only `paused`, a boolean.")
    changed = zone | {"paused": body["paused"], "modified_on": timestamp()}
    store.put(KIND, zone["id"], changed)
    return changed


def delete(store: Store, zone: Document) -> None:
    with store.transaction():
        for record in records.of_zone(store, zone["id"]):
            store.delete(records.KIND, record["id"])
        for setting in store.all(zone_settings.KIND):
            if setting["zone"] == zone["id"]:
                store.delete(zone_settings.KIND, f"{zone['id']}/{setting['name']}")
        origin_pulls.delete_all(store, zone["id"])
        store.delete(KIND, zone["id"])


def matching(store: Store, wanted: dict[str, str]) -> list[Document]:
    """The zones that fit the filters of `GET /zones`, by all of them or any."""
    tests = [_test(field, value) for field, value in wanted.items() if field not in _NOT_FILTERS]
    combine = any if wanted.get("match") == "any" and tests else all
    zones = [zone for zone in store.all(KIND) if combine(test(zone) for test in tests)]
    reverse = wanted.get("direction") == "desc"
    order = "status" if wanted.get("order") == "status" else "name"
    return sorted(zones, key=lambda zone: str(zone[order]), reverse=reverse)


def _test(field: str, value: str) -> Callable[[Document], bool]:
    if field == "name":
        return lambda zone: _fits_name(zone["name"], value)
    if field in ("status", "type"):
        return lambda zone: bool(zone[field] == value)
    if field in ("account.id", "account.name"):
        return lambda zone: bool(zone["account"][field.removeprefix("account.")] == value)
    raise ApiError(400, 1002, f"Invalid value for filter {field}: {value!r}")


def _fits_name(name: str, wanted: str) -> bool:
    """`example.com`, or with an operator in front, as in `starts_with:exam`."""
    operator, colon, text = wanted.lower().rpartition(":")
    if not colon:
        return name == text
    return {
        "equal": name == text,
        "not_equal": name != text,
        "starts_with": name.startswith(text),
        "ends_with": name.endswith(text),
        "contains": text in name,
    }.get(operator.removesuffix("_case_sensitive"), False)


def _owner(store: Store, wanted: Any) -> Document:
    owner = account(store)
    if wanted is not None and (not isinstance(wanted, dict) or wanted.get("id", owner["id"]) != owner["id"]):
        raise ApiError(403, 1068, f"Permission denied: account {wanted!r} is not the sandbox's {owner['id']}")
    return owner
