"""One member leaves the rotation under load as a rollout lets it: record away, drained, gone.

Each `Step` of the drain is what `fleet/machine/drain.py` says of itself; `without` runs the same drain with one of them
left out, under conditions in which that step is the one that matters. What the visitors lose then is what it is for.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tests.live_stack import LiveStack, address_of
from tests.load.schedule import Profile
from tests.load.visitors import Visitors, visitors

DELAYS: Final = (0.0, 0.5, 1.0)  # what the points of presence have by themselves
_LOSS_SECONDS: Final = 0.3
_WAIT_SECONDS: Final = 60.0


class Step(StrEnum):
    """A step of the drain."""

    PROPAGATION = "propagation"  # until the edge must have seen the change
    QUIET = "quiet"  # until no visitor has come for a while
    LAME_DUCK = "lame-duck"  # end each connection after its answer
    CONNECTIONS = "connections"  # until no request and no connection is left


@dataclass(frozen=True, slots=True)
class Conditions:
    """A drain's surroundings, in seconds: how late the last point of presence is, the drain's own times, the visitors.

    `gone` is when the machine is switched off, from the record's removal on, or None for as soon as it is drained.
    `lossy`: the network loses packets for a moment when nginx is about to be reloaded.
    """

    late: float
    propagation: float
    quiet: float
    cap: float
    visits: Profile
    gone: float | None = None
    lossy: bool = False
    bearable: int = 0  # visits that even the whole drain may lose, because the edge is later than it promised


_STEADY: Final = Profile(rate=200, slow_share=0.0, timeout_seconds=5)

CONDITIONS: Final = {
    # Visitors who rest for longer than the quiet time: only the clock knows that the edge will send more of them.
    Step.PROPAGATION: Conditions(
        late=4,
        propagation=5,
        quiet=1,
        cap=10,
        visits=Profile(rate=200, gust_seconds=0.5, rest_seconds=2.5, timeout_seconds=5),
    ),
    # An edge that is later than it promises: only its visitors tell.
    Step.QUIET: Conditions(late=5, propagation=1, quiet=2, cap=15, visits=_STEADY),
    # Visitors still come when the cap is reached, and nginx is reloaded while they are on their way.
    Step.LAME_DUCK: Conditions(late=5, propagation=1, quiet=5, cap=1, visits=_STEADY, gone=8, lossy=True),
    # The same, and some of them are still being answered.
    Step.CONNECTIONS: Conditions(
        late=3.3,
        propagation=1,
        quiet=5,
        cap=1,
        visits=Profile(rate=200, slow_share=0.1, slow_seconds=0.7, timeout_seconds=5),
        bearable=1,
    ),
}

# The machine's own drain, changed from outside: what runs is the program that was baked, but for one step.
_LEFT_OUT: Final = {
    Step.PROPAGATION: "",
    Step.QUIET: "",
    Step.LAME_DUCK: "drain.lame_duck.begin = lambda host: None",
    Step.CONNECTIONS: "drain.Drain._only_idle = lambda self: True; drain.Drain._open = lambda self: 0",
}
# What arrives while nginx is told to reload is lost once, and sent again by TCP when nginx has closed what was idle.
_LOSS: Final = f"""
import time
def reload_in_loss(host, clock, reload=drain.nginx_process.reload):
    host.must("nft", "add table inet loss")
    host.must("nft", "add chain inet loss input {{ type filter hook input priority -300; }}")
    host.must("nft", "add rule inet loss input tcp dport 443 drop")
    try:
        time.sleep({_LOSS_SECONDS})
        reload(host, clock)
    finally:
        host.must("nft", "delete", "table", "inet", "loss")
drain.nginx_process.reload = reload_in_loss
"""


def leave(stack: LiveStack, slot: str, conditions: Conditions, without: Step | None = None) -> Visitors:
    """Let the member in a slot leave, and see it serving again afterwards; the visitors of that time."""
    droplet = stack.droplet(slot)
    try:
        with _late(stack, conditions.late), visitors(stack, conditions.visits) as seen:
            time.sleep(1.0)  # visitors before: connections are pooled, and the site is warm
            _show(stack, droplet, proxied=False)
            removed = time.monotonic()
            asyncio.run(stack.sandbox.inside.run(droplet["id"], drain_command(conditions, without)))
            if conditions.gone is not None:
                time.sleep(max(0.0, removed + conditions.gone - time.monotonic()))
            stack.sandbox.control("POST", f"machines/{droplet['id']}/fault", {"kind": "kill"})
            time.sleep(max(1.0, removed + conditions.late + 1.0 - time.monotonic()))
    finally:
        come_back(stack, droplet["id"])
        _show(stack, droplet, proxied=True)
    return seen


def drain_command(conditions: Conditions, without: Step | None) -> str:
    """The shell line of the machine's drain, with or without all of its steps."""
    propagation = 0 if without is Step.PROPAGATION else conditions.propagation
    quiet = 0 if without is Step.QUIET else conditions.quiet
    changes = _LEFT_OUT[without] if without else ""
    program = f"import os, sys\nfrom fleet.machine import drain\n{changes}\n"
    program += (_LOSS if conditions.lossy else "") + "sys.exit(drain.main())\n"
    times = f"--propagation {propagation:g} --quiet {quiet:g} --cap {conditions.cap:g}"
    return f"PYTHONPATH=/usr/local/lib/flotilla python3 -P -c {shlex.quote(program)} {times}"


@contextmanager
def _late(stack: LiveStack, seconds: float) -> Iterator[None]:
    """The last point of presence learns of changes this late."""
    stack.sandbox.control("PUT", "edge/delays", {"seconds": [*DELAYS[:2], seconds]})
    try:
        yield
    finally:
        stack.sandbox.control("PUT", "edge/delays", {"seconds": list(DELAYS)})


def _show(stack: LiveStack, droplet: Any, *, proxied: bool) -> None:
    """Put a member's record in or out of the edge's sight; the record stays the one that the stack knows."""
    name, address = stack.setting("edge.zone"), address_of(droplet, "public")
    [zone] = [zone["id"] for zone in stack.sandbox.cloudflare("GET", "zones") if zone["name"] == name]
    records = stack.sandbox.cloudflare("GET", f"zones/{zone}/dns_records")
    [record] = [entry["id"] for entry in records if entry["content"] == address]
    stack.sandbox.cloudflare("PATCH", f"zones/{zone}/dns_records/{record}", {"proxied": proxied})


def come_back(stack: LiveStack, number: int) -> None:
    """Switch the machine on, whatever state it is in, and wait for its gate."""
    if stack.sandbox.api("GET", f"droplets/{number}")["droplet"]["status"] == "off":
        stack.sandbox.api("POST", f"droplets/{number}/actions", {"type": "power_on"})
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            _, said = asyncio.run(
                stack.sandbox.inside.attempt(number, "/usr/local/sbin/flotilla-gate --json")
            )
            checks = json.loads(said)["checks"]
        except (FileNotFoundError, IndexError, ValueError):
            checks, said = [], "it has not begun to boot"
        # Switched off again and again, it looks as if it could not stay up.
        if checks and all(check["ok"] or check["name"] == "boots" for check in checks):
            return
        time.sleep(0.5)
    raise AssertionError(f"machine {number} does not come back: {said}")
