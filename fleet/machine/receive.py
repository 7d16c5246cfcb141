"""flotilla-receive: take the bundle from standard input, install it for root only, make the services follow.

Running it again with the same bundle changes nothing. A bundle that is wrong, or that the services refuse, leaves
the machine as it was.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final, Protocol

from fleet.config import Bundle, ConfigError, MachineConfig
from fleet.machine import datastore_units
from fleet.machine.autoscaler import AutoscalerRole
from fleet.machine.database import DatabaseRole
from fleet.machine.description import load_machine
from fleet.machine.host import Clock, Host, MachineError
from fleet.machine.lock import only_one
from fleet.machine.store import BundleStore, digest_of
from fleet.machine.web import WebRole

# Edge ranges and a handful of keys are some KiB, a controller's documents up to 1 MiB; more is not a bundle.
MAX_BUNDLE_BYTES: Final = 4 * 1024 * 1024


class RoleOnMachine(Protocol):
    """What a bundle means for one role; all roles look alike from here."""

    def check(self, bundle: Bundle) -> None: ...
    def render(self, bundle: Bundle) -> dict[str, str]: ...
    def before_switch(self, bundle: Bundle) -> None: ...
    def verify(self) -> None: ...
    def apply(self, bundle: Bundle, changed: frozenset[str]) -> list[str]: ...


def role_of(host: Host, clock: Clock, machine: MachineConfig) -> RoleOnMachine:
    if machine.role == "web":
        return WebRole(host, clock, machine)
    if machine.role == "database":
        return DatabaseRole(host, clock, machine)
    return AutoscalerRole(host, clock, machine)


def receive(host: Host, clock: Clock, data: bytes) -> list[str]:
    """Install a bundle; returns what was done, in words."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise ConfigError(f"the bundle is larger than {MAX_BUNDLE_BYTES} bytes")
    machine = load_machine(host)
    bundle = Bundle.from_json(data, machine.role)
    role = role_of(host, clock, machine)
    role.check(bundle)
    role.before_switch(bundle)
    store = BundleStore(host)
    files = {**_own_files(bundle), **role.render(bundle)}
    old = store.files(store.applied())
    changed = frozenset(name for name in {*old, *files} if old.get(name) != files.get(name))
    digest = digest_of(files)
    if store.current() != digest:
        _switch(store, role, files)
    done = role.apply(bundle, changed)
    done += datastore_units.apply(host, machine, bundle, changed)
    store.settle(digest)
    return [f"bundle {digest[:12]} {'installed' if changed else 'unchanged'}", *done]


def _own_files(bundle: Bundle) -> dict[str, str]:
    secrets = {f"secrets/{name}": value for name, value in bundle.secrets.items()}
    return {"settings.json": bundle.settings.to_json(), **secrets}


def _switch(store: BundleStore, role: RoleOnMachine, files: Mapping[str, str]) -> None:
    """Put the files in force, or the old ones back when the services refuse them."""
    before = store.current()
    store.activate(store.stage(files))
    try:
        role.verify()
    except MachineError:
        if before is None:
            store.deactivate()
        else:
            store.activate(before)
        raise


def main() -> int:
    host = Host()
    try:
        with only_one(host):
            done = receive(host, Clock(), sys.stdin.buffer.read(MAX_BUNDLE_BYTES + 1))
    except (ConfigError, MachineError, OSError) as error:
        print(f"flotilla-receive: {error}", file=sys.stderr)
        return 1
    print("\n".join(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
