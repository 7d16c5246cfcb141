"""Machines that are records with an SSH server in front: a stand-in for the guest, and for nothing else.

No kernel, no cloud-init, no service, no packet filter runs here. What is real is what a deployment meets before it
gets inside: the public address, port 22 open exactly while the droplet is on, the host key and the authorized keys
that its user data asked for. What its programs answer is scripted (`guest_script`), success when nothing is said.

The addresses lie in the loopback network, a slice for each sandbox, so that any number of them run side by side
and leave nothing behind in the host's network.
"""

from __future__ import annotations

import errno
import socket
import zlib
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

from sandbox.machines.guest_script import GuestScripts
from sandbox.machines.guest_sshd import SSH_PORT, GuestSshd
from sandbox.machines.none import RecordMachines
from sandbox.machines.port import MachineError, MachineSpec
from sandbox.store import Store

_REGION = IPv4Network("127.64.0.0/10")
_SLICE_PREFIX = 20
SLICES = 2 ** (_SLICE_PREFIX - _REGION.prefixlen)


def loopback_slice(number: int) -> IPv4Network:
    """The public addresses of the droplets of simulated sandbox `number`."""
    base = int(_REGION.network_address) + number * 2 ** (32 - _SLICE_PREFIX)
    return IPv4Network((base, _SLICE_PREFIX))


class SliceError(Exception):
    """No addresses can be had; the text says why and what to do."""


def claim_socket(number: int) -> socket.socket:
    """Hold a slice: the SSH port of its first address, which no droplet gets, is this process's until it ends.

    Raises: OSError when another sandbox holds it, or port 22 cannot be had here at all.
    """
    return socket.create_server((str(loopback_slice(number)[1]), SSH_PORT))


def choose_slice(home: Path, remembered: int | None) -> int:
    """The slice of the sandbox in `home`: the one it had, else a free one. Raises SliceError."""
    first = zlib.crc32(str(home).encode())
    numbers = [(first + step) % SLICES for step in range(SLICES)] if remembered is None else [remembered]
    for number in numbers:
        try:
            claim_socket(number).close()
        except PermissionError as error:
            raise SliceError(
                f"simulated machines listen on port {SSH_PORT}, which needs root; use sudo, a private network "
                "(`unshare --user --map-root-user --net`, then `ip link set lo up`), or `--machines none`"
            ) from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise SliceError(f"{loopback_slice(number)}: {error.strerror}") from error
            continue
        return number
    raise SliceError(
        f"port {SSH_PORT} is taken on {loopback_slice(numbers[0])[1]}: an SSH server of this host listens on every "
        "address, or the sandbox runs already; start it in a network of its own with `unshare --net` and there "
        "`ip link set lo up`"
    )


class SimulatedMachines(RecordMachines):
    """Implements `Machines`; `on_exit` is called when a machine dies by itself."""

    def __init__(self, store: Store, scripts: GuestScripts) -> None:
        super().__init__(store)
        self._scripts = scripts
        self._guests: dict[int, GuestSshd] = {}
        self._isolated: frozenset[int] = frozenset()
        self.on_exit: Callable[[int], None] = lambda machine: None

    async def start(self, spec: MachineSpec) -> None:
        if self.running(spec.id):
            return
        await super().start(spec)
        if not self._scripts.boots_sshd(spec.hostname, spec.tags):
            return
        guest = GuestSshd(spec, self._scripts, lambda: self._die(spec.id))
        self._guests[spec.id] = guest
        if spec.id not in self._isolated:
            await self._listen(guest)

    async def stop(self, machine: int, *, graceful: bool) -> None:
        self._cut(machine)
        await super().stop(machine, graceful=graceful)

    async def destroy(self, machine: int) -> None:
        self._cut(machine)
        await super().destroy(machine)

    async def isolate(self, machines: frozenset[int]) -> None:
        """Exactly these have their cables pulled: open sessions break, and nobody answers their port."""
        for machine in machines - self._isolated:
            if machine in self._guests:
                self._guests[machine].cut()
        healed = self._isolated - machines
        self._isolated = machines
        for machine in healed:
            if machine in self._guests:
                await self._listen(self._guests[machine])

    def close(self) -> None:
        for machine in tuple(self._guests):
            self._cut(machine)

    async def _listen(self, guest: GuestSshd) -> None:
        try:
            await guest.open()
        except OSError as error:
            raise MachineError(f"the SSH server of {guest.spec.hostname} cannot listen: {error}") from error

    def _cut(self, machine: int) -> None:
        guest = self._guests.pop(machine, None)
        if guest is not None:
            guest.cut()

    def _die(self, machine: int) -> None:
        """The power fails, from inside: the cloud only notices."""
        self._cut(machine)
        self._on.discard(machine)
        self.on_exit(machine)
