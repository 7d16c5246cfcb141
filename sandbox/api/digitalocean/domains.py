"""Domains whose DNS the account serves; making one makes its SOA and NS records, as the real API does."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Any

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.digitalocean.record_rules import DEFAULT_TTL, NAME_SERVERS, document, host_is_valid
from sandbox.api.errors import not_found, unprocessable
from sandbox.store import Document, Store

_TOP_LEVEL = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")
_LONGEST_NAME = 253


class NewDomain(Body):
    name: str
    ip_address: str | None = None
    ttl: Any = None
    zone_file: Any = None


def records_of(store: Store, domain: str) -> list[Document]:
    return [record for record in store.all("record") if record["domain"] == domain]


def view(store: Store, domain: Document) -> Document:
    return {"name": domain["name"], "ttl": domain["ttl"], "zone_file": _zone_file(store, domain)}


def _zone_file(store: Store, domain: Document) -> str:
    name, ttl = domain["name"], domain["ttl"]
    soa = f"{name}. IN SOA {NAME_SERVERS[0]}. hostmaster.{name}. {domain['serial']} 10800 3600 604800 {ttl}"
    lines = [f"$ORIGIN {name}.", f"$TTL {ttl}", soa]
    for record in records_of(store, name):
        if record["type"] != "SOA":
            owner = f"{name}." if record["name"] == "@" else f"{record['name']}.{name}."
            lines.append(f"{owner} {record['ttl']} IN {record['type']} {_zone_data(record)}")
    return "\n".join(lines) + "\n"


def _zone_data(record: Document) -> str:
    data = record["data"]
    match record["type"]:
        case "TXT":
            return f'"{data}"'
        case "MX":
            return f"{record['priority']} {data}."
        case "SRV":
            return f"{record['priority']} {record['weight']} {record['port']} {data}."
        case "CAA":
            return f'{record["flags"]} {record["tag"]} "{data}"'
        case "A" | "AAAA":
            return str(data)
        case _:
            return data if data == "@" else f"{data}."


def named(call: Call) -> Document:
    domain = call.store.get("domain", call.path["domain"].lower())
    if domain is None:
        raise not_found()
    return domain


def changed(store: Store, domain: Document) -> None:
    """A new serial for a domain whose records changed."""
    store.put("domain", domain["name"], {**domain, "serial": domain["serial"] + 1})


def list_all(call: Call) -> Answer:
    return call.listing("domains", call.store.all("domain"), lambda domain: view(call.store, domain))


def create(call: Call) -> Answer:
    body = call.body(NewDomain)
    name = body.name.lower().removesuffix(".")
    labels = name.split(".")
    if (
        len(labels) == 1
        or len(name) > _LONGEST_NAME
        or not host_is_valid(name)
        or not _TOP_LEVEL.fullmatch(labels[-1])
    ):
        raise unprocessable(f"Name {body.name!r} is not a valid domain name")
    if call.store.get("domain", name) is not None:
        raise unprocessable(f"domain '{name}': name already exists")
    domain = {"name": name, "ttl": DEFAULT_TTL, "serial": int(call.cloud.now.timestamp())}
    call.store.put("domain", name, domain)
    first = [document(name, "SOA", "@", str(DEFAULT_TTL))]
    first += [document(name, "NS", "@", server) for server in NAME_SERVERS]
    if body.ip_address:
        first.append(document(name, "A", "@", _ipv4(body.ip_address)))
    for record in first:
        number = call.store.next_number("record", first=350_000_001)
        call.store.put("record", number, {"id": number, **record})
    # The zone file is written a moment later, so the first answer has none.
    return Answer(201, {"domain": {"name": name, "ttl": DEFAULT_TTL, "zone_file": None}})


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise unprocessable("IP address did not match IPv4 format (e.g. 255.255.255.255).") from error


def show(call: Call) -> Answer:
    return Answer(200, {"domain": view(call.store, named(call))})


def delete(call: Call) -> Answer:
    name = named(call)["name"]
    for record in records_of(call.store, name):
        call.store.delete("record", record["id"])
    call.store.delete("domain", name)
    call.store.delete("project_resource", f"do:domain:{name}")
    return NO_CONTENT


ENDPOINTS = (
    lists("/v2/domains", list_all),
    Endpoint("POST", "/v2/domains", create),
    Endpoint("GET", "/v2/domains/{domain}", show),
    Endpoint("DELETE", "/v2/domains/{domain}", delete),
)
