"""flotilla-peers: take the list of the tier's members from standard input."""

from __future__ import annotations

import sys
from typing import Final

from fleet.machine import peers
from fleet.machine.description import load_machine
from fleet.machine.host import Host, MachineError
from fleet.reading import ConfigError

MAX_BYTES: Final = 64 * 1024


def receive(host: Host, data: bytes) -> str:
    """Install the list; returns what was done, in words."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"the list of peers is larger than {MAX_BYTES} bytes")
    given = peers.parse(data, load_machine(host).network)
    peers.install(host, given)
    return f"{len(given)} peers: {', '.join(sorted(given))}"


def main() -> int:
    try:
        print(receive(Host(), sys.stdin.buffer.read(MAX_BYTES + 1)))
    except (ConfigError, MachineError, OSError) as error:
        print(f"flotilla-peers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
