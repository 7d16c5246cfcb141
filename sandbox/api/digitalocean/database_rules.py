"""Trusted sources of a database cluster: who may open connections to it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any, ClassVar, Literal

from sandbox.api.body import Body
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import tags
from sandbox.api.errors import unprocessable
from sandbox.api.topology import trusted
from sandbox.store import Document

# https://docs.digitalocean.com/products/databases/mysql/details/limits/ (a droplet counts with both its addresses)
MOST_ADDRESSES = 100
# https://docs.digitalocean.com/reference/api/ (PUT /v2/databases/{id}/firewall)
MOST_RULES = 100


class Rule(Body):
    """A trusted source; what only the API writes is accepted and ignored, as clients send it back."""

    accepts_null: ClassVar[frozenset[str] | None] = None

    type: Literal["droplet", "k8s", "ip_addr", "tag", "app"]
    value: str
    uuid: str | None = None
    description: str | None = None
    cluster_uuid: Any = None
    created_at: Any = None


class Rules(Body):
    rules: list[Rule]


def stored(cloud: Cloud, cluster: str, rules: Sequence[Rule], known: Sequence[Document]) -> list[Document]:
    """The rules as they are kept; those that are known keep their id and time. ApiError 422 for a bad one."""
    if len(rules) > MOST_RULES:
        raise unprocessable(f"rules: at most {MOST_RULES} trusted sources, not {len(rules)}")
    kept: dict[tuple[str, str], Document] = {}
    for rule in rules:
        _check(cloud, rule)
        before = next((old for old in known if (old["type"], old["value"]) == (rule.type, rule.value)), None)
        made = {"uuid": str(uuid.uuid4()), "cluster_uuid": cluster, "created_at": cloud.stamp()}
        entry = before or {**made, "type": rule.type, "value": rule.value}
        described = {} if not rule.description else {"description": rule.description}
        kept[rule.type, rule.value] = {**entry, **described}
    found = list(kept.values())
    addresses = trusted(found, cloud.every_droplet()) if found else ()
    if len(addresses) > MOST_ADDRESSES:
        raise unprocessable(f"rules: at most {MOST_ADDRESSES} addresses can be trusted, not {len(addresses)}")
    return found


def _check(cloud: Cloud, rule: Rule) -> None:
    match rule.type:
        case "ip_addr":
            _check_address(rule.value)
        case "tag":
            tags.check(rule.value)
            if tags.missing(cloud.store, [rule.value]):
                raise unprocessable(f"value: the tag {rule.value} does not exist")
        case "droplet":
            if not rule.value.isdecimal() or cloud.store.get("droplet", rule.value) is None:
                raise unprocessable(f"value: the droplet {rule.value} does not exist")
        case "k8s" | "app":
            raise unprocessable(f"value: there is no {rule.type} {rule.value} in the sandbox")


def _check_address(text: str) -> None:
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise unprocessable(f"value: {text!r} is no IPv4 address or range") from error
    if network.version != 4:
        raise unprocessable(f"value: {text}: IPv6 addresses cannot be trusted sources")
