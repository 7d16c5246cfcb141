"""What a bundle means for the units that publish and follow, whatever the machine's role."""

from __future__ import annotations

from typing import Final

from fleet.config import DATASTORE_SEAL, DATASTORE_SECRETS, Bundle, MachineConfig
from fleet.machine import datastore_follow, places, role_sets, units
from fleet.machine.host import Host

PUBLISHER: Final = "flotilla-publish.service"
TIMER: Final = "flotilla-publish.timer"
SEALER: Final = "flotilla-credential.service"
_CREDENTIAL: Final = frozenset({"settings.json", "secrets/database-password", f"secrets/{DATASTORE_SEAL}"})
_CONCERNS: Final = frozenset({"settings.json", *(f"secrets/{name}" for name in DATASTORE_SECRETS)})


def apply(host: Host, machine: MachineConfig, bundle: Bundle, changed: frozenset[str]) -> list[str]:
    """Publish at once and from now on, or no longer; returns what was done, in words."""
    if bundle.settings.datastore is None:
        return _leave(host, machine) if changed & _CONCERNS else []
    done = []
    running = units.active(host, TIMER)
    if not running:
        units.act(host, "start", TIMER)
    # The gate must not wait for the datastore, which may be away.
    if not running or changed & _CONCERNS:
        host.must("systemctl", "start", "--no-block", PUBLISHER)
        done.append(f"{TIMER} started, and this machine's record is being published")
    if bundle.settings.database and DATASTORE_SEAL in bundle.secrets and changed & _CREDENTIAL:
        host.must("systemctl", "restart", "--no-block", SEALER)
        done.append("the database's credential is being sealed")
    return done


def _leave(host: Host, machine: MachineConfig) -> list[str]:
    if units.active(host, TIMER):
        units.act(host, "stop", TIMER)
    view = host.path(places.DATASTORE_VIEW)
    had_view = view.exists()
    view.unlink(missing_ok=True)
    if not role_sets.forget(host, machine) and not had_view:
        return []
    datastore_follow.follow(host, machine)
    return ["no datastore any more: the whole network may come where a role's machines may"]
