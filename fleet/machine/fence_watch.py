"""The fence's watcher: looks several times a second, decides, closes and opens, and tells how it stands."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fleet.machine import asking, barrier, fence, fence_status, places
from fleet.machine.fence import Health, Local, Memory, State
from fleet.machine.fence_senses import Senses
from fleet.machine.host import Clock, Host, MachineError

INTERVAL_SECONDS: Final = 0.2
CLOSING_SECONDS: Final = 0.05
APP_UNIT: Final = "flotilla-app.service"
# A member that is held may be well: what is kept alive and busy gets this long to end by itself.
GRACE_SECONDS: Final = 1.0


class Watcher:
    """One member's fence. Killed at any moment, the next run goes on from the files."""

    def __init__(
        self, host: Host, clock: Clock, senses: Senses, machine: tuple[str, str], say: Callable[[str], None]
    ) -> None:
        self._host = host
        self._clock = clock
        self._senses = senses
        self._slot, self._network = machine
        self._say = say
        self._since = clock.wall()
        self._in_force: State | None = None
        self._end_idle_at: float | None = None
        self._complaint = ""
        self.memory = Memory()
        if barrier.is_closed(host):
            self.memory = Memory(
                state=State.CLOSED, reason="closed before its watcher started", hold=fence.BASE_HOLD_SECONDS
            )

    def step(self) -> float:
        """Look, decide, act, tell; returns the seconds until the next step."""
        began = self._clock.now()
        local = self._senses.local(self.memory)
        self._become(fence.notice(self.memory, local))
        if self.memory.suspect:
            self._judge(local)
        self._enforce()
        self._publish()
        if self.memory.closing:
            return CLOSING_SECONDS
        if local.health is Health.SLOW:
            return 0.0
        return max(0.0, INTERVAL_SECONDS - (self._clock.now() - began))

    def _judge(self, local: Local) -> None:
        peers = self._senses.peers(self.memory.trouble)
        self._become(fence.judge(self.memory, local, self._slot, peers))
        if self.memory.closing and self.memory.state is State.OPEN:
            self._publish()  # first the others are told, then they are asked again
            again = replace(local, now=self._clock.now())
            peers = self._senses.peers(self.memory.trouble)
            self._become(fence.judge(self.memory, again, self._slot, peers))

    def _become(self, memory: Memory) -> None:
        if memory.state is not self.memory.state:
            self._since = self._clock.wall()
            self._say(f"{memory.state.value}: {memory.reason or 'well again'}")
        self.memory = memory

    def _enforce(self) -> None:
        """Make the machine follow the state; what fails is tried again at the next step."""
        state = self.memory.state
        try:
            if state is not self._in_force:
                if state is State.OPEN:
                    barrier.open_again(self._host)
                    self._end_idle_at = None
                else:
                    barrier.close(self._host, self._network, held=state is State.HELD)
                    grace = GRACE_SECONDS if state is State.HELD else 0.0
                    self._end_idle_at = self._clock.now() + grace
                self._in_force = state
                if self.memory.stuck:
                    self._free()
            if self._end_idle_at is not None and self._clock.now() >= self._end_idle_at:
                self._end_idle_at = None
                barrier.end_idle_connections(self._host)
            self._complaint = ""
        except (MachineError, OSError) as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                self._say(f"{state.value} is not in force: {error}")

    def _free(self) -> None:
        """nginx hands on what a killed app held, as far as it may be asked twice; systemd starts another one."""
        killed = self._host.run("systemctl", "kill", "--signal=KILL", APP_UNIT, timeout=10)
        outcome = f"cannot be killed: {killed.error.strip()}" if killed.code else "was killed"
        self._say(f"{APP_UNIT} answers nobody and {outcome}")

    def _publish(self) -> None:
        leaving = self._host.path(places.LEAVING).exists()
        standing = fence_status.Standing(self._slot, self.memory, self._since, leaving)
        senses = self._senses
        document = fence_status.render(standing, senses.tally, senses.processor.share(), self._clock.now())
        fence_status.publish(self._host, document)


def tell_systemd(message: str) -> None:
    """sd_notify(3); nothing happens when systemd does not wait for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as plain:
            plain.sendto(message.encode(), address)


def main() -> int:
    host, clock = Host(), Clock()
    try:
        machine = json.loads(host.read(places.MACHINE) or "")
        slot, network = str(machine["slot"]), str(machine["network"])
    except (ValueError, KeyError, TypeError) as error:
        print(f"flotilla-fence: {places.MACHINE} cannot be read: {error!r}", file=sys.stderr)
        return 1
    senses = Senses(host, clock, asking.ask, slot)
    watcher = Watcher(host, clock, senses, (slot, network), lambda text: print(text, flush=True))
    ready = "READY=1\n"
    while True:
        pause = watcher.step()
        tell_systemd(f"{ready}WATCHDOG=1")
        ready = ""
        clock.pause(pause)


if __name__ == "__main__":
    sys.exit(main())
