"""flotilla-peers: take the list of the tier's members from standard input."""

from __future__ import annotations

import sys
from typing import Final

from fleet.machine import datastore_follow, peers, places
from fleet.machine.description import load_machine
from fleet.machine.host import Host, MachineError
from fleet.machine.lock import only_one
from fleet.reading import ConfigError

MAX_BYTES: Final = 64 * 1024


def receive(host: Host, data: bytes) -> str:
    """Install the list; returns what was done, in words."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"the list of peers is larger than {MAX_BYTES} bytes")
    machine = load_machine(host)
    given = peers.parse(data, machine.network)
    peers.install(host, given, places.TOLD_PEERS)
    datastore_follow.follow(host, machine)
    return f"{len(given)} peers: {', '.join(sorted(given))}"


def main() -> int:
    try:
        host, data = Host(), sys.stdin.buffer.read(MAX_BYTES + 1)
        with only_one(host):
            print(receive(host, data))
    except (ConfigError, MachineError, OSError) as error:
        print(f"flotilla-peers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
