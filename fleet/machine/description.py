"""What this machine is, as its boot payload said."""

from __future__ import annotations

from fleet.config import MachineConfig
from fleet.machine import places
from fleet.machine.host import Host, MachineError


def load_machine(host: Host) -> MachineConfig:
    """This machine's description; a MachineError when there is none."""
    text = host.read(places.MACHINE)
    if text is None:
        raise MachineError(
            f"{places.MACHINE} is missing: this machine was not made by Flotilla's boot payload"
        )
    return MachineConfig.from_json(text)
