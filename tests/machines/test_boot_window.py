"""No port is open for a moment while a machine boots or goes down: SYNs all the time, without the cloud's firewall."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from components.model import HTTPS_PORT, SSH_PORT, Role
from tests.live_sandbox import LiveSandbox
from tests.live_stack import LiveStack
from tests.machine_lab import until
from tests.packet_field import (
    PORTS,
    SLOTS,
    Field,
    Layer,
    Place,
    Target,
    booted,
    droplet,
    settled,
    survey,
    without_cloud_firewall,
)
from tests.port_scan import Heard, probing

pytestmark = [pytest.mark.machines, pytest.mark.timeout(300)]

# What the stack's machines serve, and what such a machine listens on by itself or did while it was baked.
TRIED = tuple(sorted({*PORTS.values(), 80, 111, 5355, 8000, 8099}))
_SYN_EVERY_SECONDS = 0.005

INTERNET, INTERNET6 = "internet (public)", "internet (public IPv6)"
ADMIN, ADMIN6 = "admin (public)", "admin (public IPv6)"
EDGE, EDGE6 = "edge (public)", "edge (public IPv6)"


@pytest.fixture(scope="module")
def field(stack: LiveStack) -> Field:
    return survey(stack, {})


@pytest.mark.parametrize("role", list(SLOTS))
def test_a_new_machine_lets_nobody_in_before_its_rules(stack: LiveStack, field: Field, role: Role) -> None:
    """The image's first boot as this slot, and a second one after its power was cut."""
    sandbox, old = stack.sandbox, stack.droplet(SLOTS[role])
    seed = sandbox.home / "machines" / str(old["id"]) / "seed" / "user-data"
    order = {"name": f"{SLOTS[role]}-boot", "image": old["image"]["id"], "vpc_uuid": old["vpc_uuid"]}
    with droplet(sandbox, **order, user_data=seed.read_text()) as made:
        with watched(field, Target(role, made)) as first:
            asyncio.run(booted(sandbox, made["id"]))
        with watched(field, Target(role, made)) as second:
            again(sandbox, made["id"], "power_cycle")
    for heard in (first, second):
        assert_table(field, role, heard)
        assert heard[ADMIN].opened == {SSH_PORT}, "the SYNs did come there"


def test_a_member_that_is_rebooted_opens_the_tables_ports_alone(stack: LiveStack, field: Field) -> None:
    """Down in order and up again, with its services and what the bundle adds to the rules."""
    member = stack.droplet("web-1")
    before = stack.sandbox.inside.init(member["id"])
    with without_cloud_firewall(stack.sandbox), watched(field, Target(Role.WEB, member)) as heard:
        again(stack.sandbox, member["id"], "reboot")
    assert stack.sandbox.inside.init(member["id"]) != before, "it did go down"
    assert_table(field, Role.WEB, heard)
    assert heard[ADMIN].opened == {SSH_PORT}
    assert heard[EDGE].opened == heard[EDGE6].opened == {HTTPS_PORT}
    asyncio.run(serving(stack))


def test_the_probe_hears_an_open_machine(stack: LiveStack, field: Field) -> None:
    """The control: a plain Debian has no filter, and anyone may reach its SSH as soon as it listens."""
    with (
        droplet(stack.sandbox, name="open", image="debian-13-x64") as made,
        watched(field, Target(Role.WEB, made)) as heard,
    ):
        asyncio.run(booted(stack.sandbox, made["id"]))
    for label in (INTERNET, INTERNET6):
        assert SSH_PORT in heard[label].opened
        assert HTTPS_PORT in heard[label].refused


def assert_table(field: Field, role: Role, heard: Mapping[str, Heard]) -> None:
    for place in outside(field):
        allowed = field.expected(place, role, Layer.MACHINE)
        assert heard[place.label].passed <= allowed, place.label


def again(sandbox: LiveSandbox, number: int, kind: str) -> None:
    """Until the action is done and the machine has booted again."""
    sandbox.api("POST", f"droplets/{number}/actions", {"type": kind})
    asyncio.run(settled(sandbox, number))
    asyncio.run(booted(sandbox, number))


async def serving(stack: LiveStack) -> None:
    """Until visitors are served again."""

    async def served() -> bool:
        try:
            return stack.visit().member == "web-1"
        except AssertionError:
            return False

    await until(served)


def outside(field: Field) -> list[Place]:
    """One place of each kind and family, none of the stack's own."""
    return [
        place for place in field.places if place.label in {INTERNET, INTERNET6, ADMIN, ADMIN6, EDGE, EDGE6}
    ]


@contextmanager
def watched(field: Field, target: Target) -> Iterator[dict[str, Heard]]:
    """SYNs from outside every 5 ms until the block ends; what was heard by then, by the place's label."""
    places = outside(field)
    heard = {place.label: Heard(frozenset(), frozenset()) for place in places}
    stop = threading.Event()

    def watch(place: Place) -> None:
        with probing(place.vantage, place.source, target.address(place.side), TRIED) as ask:
            while not stop.wait(_SYN_EVERY_SECONDS):
                heard[place.label] = ask()

    threads = [threading.Thread(target=watch, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        stop.set()
        for thread in threads:
            thread.join()
