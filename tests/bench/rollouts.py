"""What visitors notice of a fleet that changes, and how long a rollout takes by the number of members."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.bench.bed import Bed
from tests.bench.table import Row
from tests.live_sandbox import LiveSandbox
from tests.live_stack import LiveStack
from tests.load.bad_images import SPOILED, bake, booted, spoil
from tests.load.leaving import CONDITIONS, Step, come_back, leave
from tests.load.schedule import Profile
from tests.load.visitors import Visitors, lay_site, visitors

RATE = 200
SIZES = (2, 4, 8)
P99_RATIO = 1.5
_QUIET_SECONDS = 20
_STRANGERS = 4
_PATIENT_SECONDS = 45.0  # more than the edge takes to connect, give up and try another origin
_SMALL, _LARGER = "s-1vcpu-1gb", "s-1vcpu-2gb"


def measure(bed: Bed) -> Iterator[Row]:
    stack = LiveStack.create(LiveSandbox(bed.home), bed.home.parent / "rollouts", "dev")
    stack.configure("web.count", SIZES[0])
    stack.configure("edge.propagation_seconds", 3)
    stack.configure("web.rollout.canary_seconds", 3)
    lay_site(stack)
    stack.fleet("bake", "web", "database", "--stack", stack.name)
    stack.up()
    yield from _visited(stack)
    yield _dead(stack)
    yield from _drains(stack)
    yield from _durations(stack)


@dataclass(frozen=True, slots=True)
class Case:
    """Something that happens to a stack under load."""

    what: str
    happen: Callable[[LiveStack], None]


def _cases(stack: LiveStack, quiet: str) -> Iterator[Case]:
    good = stack.setting("web.image")
    better = bake(stack, "better_app")
    command, _ = SPOILED["manifest"]
    bad = spoil(stack, good, "web-spoiled-manifest", command)
    stack.configure("web.image", good)
    yield Case(quiet, lambda _: time.sleep(_QUIET_SECONDS))
    yield Case(f"{_STRANGERS} machines boot that nobody visits", _strangers)
    for before, after in itertools.pairwise((2, 6, 2, 12, 4)):
        yield Case(f"scale {before} to {after}", partial(_change, key="web.count", value=after))
    yield Case("rollout of a good image on 4 members", lambda stack: _change(stack, "web.image", better))
    yield Case("another size for 4 members", lambda stack: _change(stack, "web.size", _LARGER))
    yield Case("a bad image on 4 members, and back", lambda stack: _refused(stack, bad, better))
    yield Case("scale 4 to 2", lambda stack: _change(stack, "web.count", 2))
    yield Case("new certificates", lambda stack: _change(stack, "edge.rotation", 2))


def _visited(stack: LiveStack) -> Iterator[Row]:
    before = 0.0
    for case in _cases(stack, "nothing happens"):
        with visitors(stack, Profile(rate=RATE, seconds=300, most=60_000)) as seen:
            case.happen(stack)
        report, ledger = seen.result()
        p99 = report.quick.p99 * 1000
        yield Row(
            f"{case.what}: failed, doubled and lost requests",
            f"{len(report.failures)}, {len(ledger.doubled)}, {len(ledger.lost)} of {report.requests}",
            "0, 0, 0",
            met=not report.failures and not ledger.doubled and not ledger.lost,
        )
        if before:
            figure = f"{p99:.0f} ms / {before:.0f} ms = {p99 / before:.1f}"
            met = p99 <= P99_RATIO * before
            yield Row(f"{case.what}: p99 over that of quiet time", figure, f"at most {P99_RATIO}", met=met)
        else:
            before = p99
            yield Row(f"{case.what}: p99", f"{p99:.0f} ms")


def _dead(stack: LiveStack) -> Row:
    """What it costs when a member cannot even refuse: the edge waits out its connect timeout before it asks another."""
    number = stack.droplet("web-2")["id"]
    with visitors(stack, Profile(rate=RATE, timeout_seconds=_PATIENT_SECONDS)) as seen:
        time.sleep(_QUIET_SECONDS / 4)
        stack.sandbox.control("POST", f"machines/{number}/fault", {"kind": "kill"})
        time.sleep(_QUIET_SECONDS)
    come_back(stack, number)
    report, ledger = seen.result()
    figure = f"{len(report.failures)}, {len(ledger.doubled)}, {len(ledger.lost)} of {report.requests}; p99 {report.quick.p99:.1f} s"
    return Row("the power of one of 2 members is cut: failed, doubled and lost requests", figure)


def _drains(stack: LiveStack) -> Iterator[Row]:
    for step in Step:
        whole, less = (
            _lost(leave(stack, "web-2", CONDITIONS[step])),
            leave(stack, "web-2", CONDITIONS[step], step),
        )
        figure = f"{whole}; without it {_lost(less)}"
        yield Row(
            f"drain where {step} matters: failed requests",
            figure,
            "0; without it more",
            met=whole == 0 < _lost(less),
        )


def _lost(seen: Visitors) -> int:
    return len(seen.result()[0].failures)


def _durations(stack: LiveStack) -> Iterator[Row]:
    bare = _bare(stack)
    yield Row("bare boot of a droplet of the web image", f"{bare:.1f} s")
    for count in SIZES:
        _change(stack, "web.count", count)
        size = _LARGER if stack.setting("web.size") == _SMALL else _SMALL
        started = time.monotonic()
        _change(stack, "web.size", size)
        seconds = time.monotonic() - started
        yield Row(f"rollout of {count} members", f"{seconds:.1f} s = {seconds / bare:.1f} bare boots")


def _strangers(stack: LiveStack) -> None:
    """As much work for the host as growing by so many, and none for the fleet: what is then seen is the host's own."""
    with ThreadPoolExecutor(_STRANGERS) as pool:
        for started in [pool.submit(_bare, stack) for _ in range(_STRANGERS)]:
            started.result()


def _bare(stack: LiveStack) -> float:
    """From the request to the end of cloud-init, told nothing."""
    api, name = stack.sandbox.api, stack.setting("web.image")
    [image] = [entry["id"] for entry in api("GET", "images?private=true")["images"] if entry["name"] == name]
    started = time.monotonic()
    order = {"name": "bare", "region": "lon1", "size": _SMALL, "image": image, "user_data": "#cloud-config\n"}
    number = api("POST", "droplets", order)["droplet"]["id"]
    try:
        booted(stack, number)
        return time.monotonic() - started
    finally:
        api("DELETE", f"droplets/{number}")


def _change(stack: LiveStack, key: str, value: str | int) -> None:
    stack.configure(key, value)
    stack.up()


def _refused(stack: LiveStack, bad: str, good: str) -> None:
    stack.configure("web.image", bad)
    stack.pulumi("up", "--yes", "--skip-preview", expect=1)
    _change(stack, "web.image", good)
