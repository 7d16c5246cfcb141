"""flotilla-fence: how this member's fence stands; hold it closed; release it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, Final

from fleet.machine import barrier, fence_status, places
from fleet.machine.description import load_machine
from fleet.machine.fence import State
from fleet.machine.fence_watch import GRACE_SECONDS
from fleet.machine.host import Clock, Host, MachineError, until
from fleet.reading import ConfigError

UNIT: Final = "flotilla-fence.service"
LONGEST_REASON: Final = 300
# The watcher looks several times a second, and a check may take most of one.
WATCHER_SECONDS: Final = 5.0


def status(host: Host, clock: Clock) -> dict[str, Any]:
    """The watcher's own word."""
    document = fence_status.read(host, clock.wall())
    if document is None:
        raise MachineError(
            f"nobody watches this member ({places.FENCE_STATUS} is not fresh); see `journalctl -u {UNIT}`"
        )
    return document


def hold(host: Host, clock: Clock, reason: str) -> str:
    """Close at once, whatever the peers, until released; a reboot changes nothing."""
    if load_machine(host).role != "web":
        raise MachineError("only a web member has a fence")
    reason = "".join(letter for letter in reason if letter.isprintable())[:LONGEST_REASON]
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.wall()))
    host.write(places.FENCE_HOLD, json.dumps({"reason": reason, "since": since}) + "\n", 0o644)
    barrier.close(host, load_machine(host).network, held=True)
    if _wait(host, clock, held=True):
        return f"held: {reason}"
    clock.pause(GRACE_SECONDS)
    barrier.end_idle_connections(host)
    return f"held: {reason} (its watcher does not run; see `journalctl -u {UNIT}`)"


def release(host: Host, clock: Clock) -> str:
    """Hold it no longer: it opens when the member is well, or at once when nobody watches that."""
    if not host.path(places.FENCE_HOLD).exists():
        return "it was not held"
    host.path(places.FENCE_HOLD).unlink()
    if _wait(host, clock, held=False):
        return "released: it opens as soon as this member is well"
    barrier.open_again(host)
    return f"released and open (its watcher does not run; see `journalctl -u {UNIT}`)"


def _wait(host: Host, clock: Clock, *, held: bool) -> bool:
    """Until the watcher has seen it; False when there is none."""

    def seen() -> bool | None:
        document = fence_status.read(host, clock.wall())
        if document is None:
            return False
        return True if (document.get("state") == State.HELD.value) is held else None

    return until(seen, timeout=WATCHER_SECONDS, clock=clock, interval=0.1) is True


def main() -> int:
    parser = argparse.ArgumentParser(prog="flotilla-fence", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("status").add_argument("--json", action="store_true", help="print all that is known")
    verbs.add_parser("hold").add_argument("--reason", required=True)
    verbs.add_parser("release")
    arguments = parser.parse_args()
    host, clock = Host(), Clock()
    try:
        if arguments.verb == "hold":
            print(hold(host, clock, arguments.reason))
        elif arguments.verb == "release":
            print(release(host, clock))
        else:
            document = status(host, clock)
            line = f"{document['slot']}: {document['state']} since {document['since']} {document['reason']}"
            print(json.dumps(document) if arguments.json else line.rstrip())
    except (ConfigError, MachineError, OSError) as error:
        print(f"flotilla-fence: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
