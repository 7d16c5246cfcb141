"""flotilla-volume: mount the database's volume, at boot before the server."""

from __future__ import annotations

import sys

from fleet.config import ConfigError
from fleet.machine import volume
from fleet.machine.description import load_machine
from fleet.machine.host import Clock, Host, MachineError


def main() -> int:
    host = Host()
    try:
        print(volume.ensure_mounted(host, Clock(), load_machine(host).volume))
    except (ConfigError, MachineError, OSError) as error:
        print(f"flotilla-volume: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
