"""flotilla-follow: make the packet filter's sets and the list of peers follow the last good view of the datastore."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from fleet.config import ConfigError, MachineConfig, Settings
from fleet.datastore import Record
from fleet.machine import datastore_memory, peers, places, role_sets
from fleet.machine.description import load_machine
from fleet.machine.host import Host, MachineError
from fleet.machine.lock import only_one

MEMBERS = "web"  # the role that has peers


def follow(host: Host, machine: MachineConfig) -> list[str]:
    """Returns what changed, in words. Nothing that is in force is lost when it fails."""
    view = datastore_memory.load(host) if configured(host) else datastore_memory.NOTHING
    told = peers.load(host, places.TOLD_PEERS)
    records = [known.record for known in view.members.values()]
    given = {role: set(found.values()) for role, found in view.addresses().items()}
    done = []
    if machine.role == MEMBERS:
        done += _lay_peers(host, machine, told, [record for record in records if record.role == MEMBERS])
    if given:
        # Whom the desk told of, over SSH, may come from the first moment on.
        given.setdefault(MEMBERS, set()).update(told.values())
        done += role_sets.enforce(host, machine, given)
    return done


def configured(host: Host) -> bool:
    """Whether the bundle in force names a datastore."""
    received = host.read(places.SETTINGS)
    return received is not None and Settings.from_json(received).datastore is not None


def _lay_peers(host: Host, machine: MachineConfig, told: Mapping[str, str], seen: list[Record]) -> list[str]:
    inside = set(role_sets.believable((record.private_address for record in seen), machine.network))
    new = peers.merged(told, [record for record in seen if record.private_address in inside])
    old = peers.load(host)
    if not new or new == old:
        return []
    peers.install(host, new)
    return [f"{len(new)} peers: {', '.join(sorted(new))}"]


def main() -> int:
    host = Host()
    try:
        with only_one(host):
            for line in follow(host, load_machine(host)):
                print(line)
    except (ConfigError, MachineError, OSError) as error:
        print(f"flotilla-follow: the last good list stays in force: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
