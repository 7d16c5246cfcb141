"""The list of the tier's members on each of them: what the fence goes by."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from fleet.datastore import Record
from fleet.machine import places
from fleet.machine.host import Host
from fleet.reading import ConfigError, Reader, decode_object

MAX_PEERS: Final = 1000
_DROPLET = re.compile(r"(.+)-[0-9a-f]{7}")
_SLOT_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def parse(text: str | bytes, network: str) -> dict[str, str]:
    """Addresses by slot; each must be one inside the VPC."""
    reader = Reader("peers.json", decode_object("peers.json", text))
    given = reader.mapping("peers")
    reader.finish()
    if not 1 <= len(given) <= MAX_PEERS:
        raise ConfigError(f"peers.json.peers has {len(given)} members; give 1 to {MAX_PEERS}")
    peers = {slot: _address(slot, given[slot], network) for slot in given}
    if len(set(peers.values())) != len(peers):
        raise ConfigError("peers.json.peers gives two members one address")
    return peers


def load(host: Host, path: str = places.PEERS) -> dict[str, str]:
    """The list as it was installed; empty when there is none yet, or none that can be read."""
    text = host.read(path)
    if text is None:
        return {}
    try:
        peers = json.loads(text)["peers"]
        return {str(slot): str(address) for slot, address in peers.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def install(host: Host, peers: Mapping[str, str], path: str = places.PEERS) -> None:
    document = {"peers": dict(sorted(peers.items()))}
    host.write(path, json.dumps(document, indent=1) + "\n", 0o644)


def slot_of(name: str) -> str:
    """The slot of a machine by its name: Pulumi and the controller append seven digits to it."""
    match = _DROPLET.fullmatch(name)
    return match[1] if match else name


def merged(told: Mapping[str, str], seen: Iterable[Record]) -> dict[str, str]:
    """The members by what the desk told and by what they say themselves.

    Told of and gone is a member still: the fence must know that it does not answer. Where a slot has another machine
    than was told, because this machine was away then, the one that speaks counts, and of two the newer.
    """
    speaking: dict[str, list[Record]] = {}
    for record in seen:
        speaking.setdefault(slot_of(record.name), []).append(record)
    peers = dict(told)
    for slot, records in speaking.items():
        if told.get(slot) not in {record.private_address for record in records}:
            newest = max(records, key=lambda record: (datetime.fromisoformat(record.at), record.name))
            peers[slot] = newest.private_address
    taken: dict[str, str] = {}
    for slot in sorted(peers, key=lambda slot: (slot not in speaking, slot)):
        # An address that was given on is its new owner's, who speaks.
        taken.setdefault(peers[slot], slot)
    return {slot: address for address, slot in sorted(taken.items())[:MAX_PEERS]}


def _address(slot: str, text: object, network: str) -> str:
    where = f"peers.json.peers.{slot[:80]}"
    if not slot or len(slot) > 63 or not set(slot) <= _SLOT_CHARACTERS:
        raise ConfigError(f"peers.json.peers has the name {slot[:80]!r}, which is no slot's")
    try:
        address = ipaddress.ip_address(text if isinstance(text, str) else "")
    except ValueError:
        raise ConfigError(f"{where} is {str(text)[:60]!r}, not an IP address") from None
    if address not in ipaddress.ip_network(network):
        raise ConfigError(f"{where} is {address}, which is not inside this stack's network {network}")
    return str(address)
