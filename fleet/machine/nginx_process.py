"""nginx as it runs: a reload is over when workers with the new configuration have taken the old ones' place."""

from __future__ import annotations

from typing import Final

from fleet.machine import units
from fleet.machine.host import Clock, Host, MachineError, until

UNIT: Final = "nginx.service"
RELOAD_SECONDS: Final = 30.0
# What a worker calls itself; one that only finishes its requests adds "is shutting down".
_WORKER: Final = "nginx: worker process"


def accepting_workers(host: Host) -> frozenset[int]:
    """Processes that take new connections."""
    found = set()
    for entry in host.path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_text(errors="replace").rstrip("\0 ")
        except OSError:
            continue  # it has ended since it was listed
        if title == _WORKER:
            found.add(int(entry.name))
    return frozenset(found)


def reload(host: Host, clock: Clock) -> None:
    """Make nginx follow its files; new connections meet the new configuration once this returns."""
    before = accepting_workers(host)
    units.act(host, "reload", UNIT)

    def replaced() -> bool | None:
        now = accepting_workers(host)
        return True if now and not now & before else None

    if until(replaced, timeout=RELOAD_SECONDS, clock=clock, interval=0.05) is None:
        raise MachineError(
            f"nginx did not take its new configuration within {RELOAD_SECONDS:g} s; see `journalctl -u {UNIT}`"
        )
