"""flotilla-drain: leave the rotation without cutting a request, after the machine's record was switched or removed.

1. Keep serving as ever until the edge must have seen the change and no visitor has come for a while.
2. Lame duck: still answer, and end each connection after its answer. If visitors still come, be one for a while, so that
   they use up what the edge keeps open: a request on its way to a connection that is closed meanwhile is lost.
3. End what is idle: nginx closes those in a reload, and its listener stays open.
4. Wait until no connection is left, with a cap.
The order is the point: closing a listener or a firewall first loses the requests that are on their way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

from fleet.machine import lame_duck, nginx_process, places, units
from fleet.machine.host import Clock, Host, MachineError, until
from fleet.machine.sockets import connections


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a drain is, in seconds."""

    propagation: float  # until every point of presence of the edge has seen the change
    quiet: float  # without a visitor
    cap: float  # at most, beyond the propagation time


class Drain:
    """One drain of this machine."""

    def __init__(
        self, host: Host, clock: Clock, in_flight: Callable[[], int], say: Callable[[str], None]
    ) -> None:
        self._host = host
        self._clock = clock
        self._in_flight = in_flight
        self._say = say

    def run(self, pace: Pace) -> int:
        """Drain; returns the number of connections that were still open when the cap was reached."""
        if not units.active(self._host, "nginx.service"):
            self._say("nginx does not run: nothing to drain")
            return 0
        self._leave()
        self._say(f"serving on for {pace.propagation:g} s and until {pace.quiet:g} s pass without a visitor")
        self._clock.pause(pace.propagation)
        end = self._clock.now() + pace.cap
        quiet = self._wait(lambda: self._quiet_for(pace.quiet), end)
        lame_duck.begin(self._host)
        self._say(f"lame duck with {self._open()} connections, each ended after its answer")
        if not quiet:
            self._say(f"visitors still come after {pace.cap:g} s more")
            self._clock.pause(min(pace.quiet, pace.cap))
        self._wait(self._only_idle, max(end, self._clock.now() + min(pace.quiet, pace.cap)))
        nginx_process.reload(self._host, self._clock)
        self._wait(lambda: self._open() == 0, max(end, self._clock.now() + min(pace.quiet, pace.cap)))
        left = self._open()
        self._say("drained" if left == 0 else f"{left} connections are still open; they end with the machine")
        return left

    def _leave(self) -> None:
        """Whoever asks the fence how this member stands is told."""
        path = self._host.path(places.LEAVING)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o644)

    def _quiet_for(self, seconds: float) -> bool:
        return self._in_flight() == 0 and self._since_last_visit() >= seconds

    def _only_idle(self) -> bool:
        return self._open() == 0 or self._in_flight() == 0

    def _open(self) -> int:
        return connections(self._host, 443)

    def _since_last_visit(self) -> float:
        """nginx writes a line for every visitor's finished request, and none for health checks."""
        try:
            return self._clock.wall() - self._host.path(places.ACCESS_LOG).stat().st_mtime
        except FileNotFoundError:
            return float("inf")

    def _wait(self, check: Callable[[], bool], end: float) -> bool | None:
        return until(lambda: check() or None, timeout=max(0.0, end - self._clock.now()), clock=self._clock)


def main() -> int:
    parser = argparse.ArgumentParser(prog="flotilla-drain", description=__doc__.splitlines()[0])
    parser.add_argument("--propagation", type=_seconds, required=True, metavar="SECONDS")
    parser.add_argument("--quiet", type=_seconds, required=True, metavar="SECONDS")
    parser.add_argument("--cap", type=_seconds, required=True, metavar="SECONDS")
    arguments = parser.parse_args()
    pace = Pace(propagation=arguments.propagation, quiet=arguments.quiet, cap=arguments.cap)
    drain = Drain(
        Host(), Clock(), lambda: nginx_process.status().in_flight, lambda text: print(text, flush=True)
    )
    try:
        drain.run(pace)
    except (MachineError, OSError) as error:
        print(f"flotilla-drain: {error}", file=sys.stderr)
        return 1
    return 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("must be from 0 to 86400 seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
