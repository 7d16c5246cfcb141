"""Whatever happens to a fleet that serves, its visitors lose nothing; they come through three points of presence.

The tests tell one story on one stack, each leaving it serving. What a drain is made of is proven by leaving out one
step at a time, which must cost requests: else a count of none would prove nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.live_sandbox import live_sandbox
from tests.live_stack import LiveStack
from tests.load.bad_images import SPOILED, bake, spoil
from tests.load.judge import failures, unharmed
from tests.load.leaving import CONDITIONS, Step, leave
from tests.load.schedule import Profile
from tests.load.visitors import lay_site, visitors

pytestmark = [pytest.mark.machines, pytest.mark.timeout(600)]

# Requests per second; a host that others keep busy cannot serve as many, and then this counts its own queue.
RATE = float(os.environ.get("FLOTILLA_LOAD_RATE", "100"))
BUSY = Profile(rate=RATE)


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """Two members behind the edge, whose last point of presence sees a change one second late."""
    with live_sandbox("load") as sandbox, TemporaryDirectory(prefix="flotilla-load-") as root:
        stack = LiveStack.create(sandbox, Path(root) / "project", "dev")
        stack.configure("web.count", 2)
        stack.configure("edge.propagation_seconds", 3)
        stack.configure("web.rollout.canary_seconds", 3)
        lay_site(stack)
        stack.fleet("bake", "web", "database", "--stack", stack.name)
        stack.up()
        yield stack


def droplets(stack: LiveStack) -> dict[str, int]:
    return {slot: stack.droplet(slot)["id"] for slot in stack.outputs()["members"]}


def test_a_good_image_is_rolled_out(stack: LiveStack) -> None:
    before = droplets(stack)
    bake(stack, "better_app")
    with visitors(stack, BUSY) as seen:
        stack.up()
    report = unharmed(seen)
    assert set(report.members) == {"web-1", "web-2"}
    assert not set(before.values()) & set(droplets(stack).values())


def test_another_size_is_rolled_out(stack: LiveStack) -> None:
    stack.configure("web.size", "s-1vcpu-2gb")
    with visitors(stack, BUSY) as seen:
        stack.up()
    unharmed(seen)
    assert {stack.droplet(slot)["size_slug"] for slot in droplets(stack)} == {"s-1vcpu-2gb"}


def test_the_fleet_grows_to_six_and_shrinks_to_two(stack: LiveStack) -> None:
    before = droplets(stack)
    with visitors(stack, BUSY) as seen:
        stack.configure("web.count", 6)
        stack.up()
        stack.configure("web.count", 2)
        stack.up()
    assert set(unharmed(seen).members) == {f"web-{number}" for number in range(1, 7)}
    assert droplets(stack) == before, "the first two were left alone"


def test_an_app_that_cannot_start_stops_at_the_gate(stack: LiveStack) -> None:
    good = stack.setting("web.image")
    bake(stack, "crashing_app")
    refused(stack, good, "FAIL", "this release cannot start")


# What a release does that passes its gate, and for how many seconds visits may fail until the canary is fenced: the
# watch looks every second and wants a few failed visits before it says so.
PASSES_ITS_GATE = {"failing_app": 6.0, "slow_app": 0.0}


@pytest.mark.parametrize("variant", list(PASSES_ITS_GATE))
def test_a_release_that_passes_its_gate_stops_at_the_canary(stack: LiveStack, variant: str) -> None:
    good, others = stack.setting("web.image"), stack.droplet("web-2")["id"]
    bake(stack, variant)
    with visitors(stack, BUSY) as seen:
        printed = stack.pulumi("up", "--yes", "--skip-preview", expect=1)
    report, ledger = seen.result()
    assert "the canary web-1" in printed, printed
    assert "it is fenced" in printed, printed
    assert {failure.status for failure in report.failures} <= {500}, failures(report)
    moments = [failure.at for failure in report.failures] or [0.0]
    print(f"{variant}: {len(report.failures)} failed in {max(moments) - min(moments):.1f} s")
    assert max(moments) - min(moments) <= PASSES_ITS_GATE[variant], failures(report)
    assert (ledger.doubled, ledger.lost) == ((), ())
    assert others in {droplet["id"] for droplet in stack.sandbox.api("GET", "droplets")["droplets"]}
    with visitors(stack, BUSY) as seen:
        stack.configure("web.image", good)
        stack.up()
    unharmed(seen)


@pytest.mark.parametrize("wrong", sorted(SPOILED))
def test_a_spoiled_image_stops_at_the_gate(stack: LiveStack, wrong: str) -> None:
    good, (command, said) = stack.setting("web.image"), SPOILED[wrong]
    stack.configure("web.image", spoil(stack, good, f"web-spoiled-{wrong}", command))
    refused(stack, good, said)


def refused(stack: LiveStack, good: str, *words: str) -> None:
    """The update to the image in the config fails and says which slot and why; with the good one it goes through."""
    with visitors(stack, BUSY) as seen:
        printed = stack.pulumi("up", "--yes", "--skip-preview", expect=1)
        stack.configure("web.image", good)
        stack.up()
    unharmed(seen)
    assert [word for word in ("web-1", *words) if word not in printed] == [], printed
    left = {droplet["id"] for droplet in stack.sandbox.api("GET", "droplets")["droplets"]}
    assert left == {*droplets(stack).values(), stack.droplet("database-1")["id"]}


def test_certificates_are_rotated(stack: LiveStack) -> None:
    before = shown_certificate(stack)
    stack.configure("edge.rotation", 2)
    with visitors(stack, BUSY) as seen:
        stack.up()
    unharmed(seen)
    assert shown_certificate(stack) != before


def shown_certificate(stack: LiveStack) -> str:
    """What a member shows the edge."""
    line = "openssl x509 -noout -fingerprint -in /etc/flotilla/current/secrets/tls.crt"
    return asyncio.run(stack.sandbox.inside.run(stack.droplet("web-1")["id"], line))


def test_a_range_that_the_edge_gains_and_gives_up_replaces_nothing(stack: LiveStack) -> None:
    before, published = droplets(stack), stack.sandbox.control("GET", "edge/ranges")
    more = {"ipv4_cidrs": [*published["ipv4_cidrs"], "151.101.0.0/16"], "ipv6_cidrs": published["ipv6_cidrs"]}
    try:
        with visitors(stack, BUSY) as seen:
            stack.sandbox.control("PUT", "edge/ranges", more)
            for number in before.values():
                asyncio.run(stack.sandbox.inside.run(number, "systemctl start flotilla-edge-ranges.service"))
            stack.up()
    finally:
        stack.sandbox.control("DELETE", "edge/ranges")
    unharmed(seen)
    with visitors(stack, BUSY) as seen:
        stack.up()
    unharmed(seen)
    assert droplets(stack) == before


# How one member breaks: the fence sees it, and closes.
FAULTS = {
    "killed": "systemctl kill --signal=KILL flotilla-app.service",
    "answers 500": "echo 500 > /run/load-fault",
    "hangs": "echo hang > /run/load-fault",
}
FENCED_SECONDS = 2.0
MENDED = "rm -f /run/load-fault; systemctl restart flotilla-app.service; /usr/local/sbin/flotilla-fence hold --reason mended; /usr/local/sbin/flotilla-fence release"


@pytest.mark.parametrize("fault", list(FAULTS))
def test_one_broken_member_is_fenced_within_seconds(stack: LiveStack, fault: str) -> None:
    number = stack.droplet("web-2")["id"]
    try:
        with visitors(stack, Profile(rate=RATE, timeout_seconds=8)) as seen:
            time.sleep(4)
            asyncio.run(stack.sandbox.inside.run(number, FAULTS[fault]))
            broken = time.monotonic()
            time.sleep(8)
    finally:
        asyncio.run(stack.sandbox.inside.run(number, MENDED))
        await_open(stack, number)
    report, ledger = seen.result()
    last = max((failure.at - broken for failure in report.failures), default=0.0)
    print(f"{fault}: {len(report.failures)} failed, the last one {last:.1f} s after the fault")
    assert report.after(broken + FENCED_SECONDS) == (), failures(report)
    assert (ledger.doubled, ledger.lost) == ((), ())


def await_open(stack: LiveStack, number: int) -> None:
    """The member's fence opens by itself."""
    deadline = time.monotonic() + 90
    state = ""
    while time.monotonic() < deadline:
        said = asyncio.run(stack.sandbox.inside.run(number, "/usr/local/sbin/flotilla-fence status --json"))
        state = json.loads(said)["state"]
        if state == "open":
            return
        time.sleep(0.5)
    raise AssertionError(f"the fence of droplet {number} stays {state}")


# Some of what a step saves is a matter of moments.
TRIES = 5


@pytest.mark.parametrize("step", list(Step))
def test_a_drain_loses_nothing(stack: LiveStack, step: Step) -> None:
    report, ledger = leave(stack, "web-2", CONDITIONS[step]).result()
    assert report.requests > 0, "nobody came"
    assert len(report.failures) <= CONDITIONS[step].bearable, failures(report)
    assert (ledger.doubled, ledger.lost) == ((), ())


@pytest.mark.parametrize("step", list(Step))
def test_a_drain_without_one_step_loses_requests(stack: LiveStack, step: Step) -> None:
    lost: list[int] = []
    while len(lost) < TRIES and sum(lost) <= CONDITIONS[step].bearable * len(lost):
        report, _ = leave(stack, "web-2", CONDITIONS[step], without=step).result()
        print(failures(report))
        lost.append(len(report.failures))
    assert sum(lost) > CONDITIONS[step].bearable * len(lost), f"{lost} lost without {step}: what is it for?"


def test_after_all_this_the_stack_is_what_its_config_says(stack: LiveStack) -> None:
    stack.up("--refresh", "--expect-no-changes")
    with visitors(stack, BUSY) as seen:
        time.sleep(3)
    unharmed(seen)
