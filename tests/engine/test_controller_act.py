"""What the controller does to the world, action by action, and what it refuses to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fleet.controller.act import Actor
from fleet.controller.guard import ForeignError, GoneError, HeldError
from fleet.controller.model import (
    Action,
    Create,
    Delete,
    Drain,
    Eject,
    Hold,
    PowerCycle,
    Prepare,
    Publish,
    Rebuild,
    Record,
    Restore,
    Withdraw,
)
from fleet.controller.observe import Observer
from fleet.errors import FleetError
from tests.engine.local_cloud import LocalCloud
from tests.engine.site import now
from tests.engine.tended import Tended

pytestmark = pytest.mark.engine

FROZEN = Hold(owner="alice", reason="looking into it")


@pytest.fixture(params=["edge", "plain"])
def any_stack(
    request: pytest.FixtureRequest, simulation: LocalCloud, tmp_path: Path, numbers: Iterator[int]
) -> Iterator[Tended]:
    """With Cloudflare in front, or named by the cloud's own DNS."""
    name = f"tended{next(numbers)}"
    yield Tended.create(simulation, tmp_path / "state", name, plain=request.param == "plain")
    simulation.calm()
    simulation.wipe()


@pytest.fixture
def stack(simulation: LocalCloud, tmp_path: Path, numbers: Iterator[int]) -> Iterator[Tended]:
    yield Tended.create(simulation, tmp_path / "state", f"tended{next(numbers)}")
    simulation.calm()
    simulation.wipe()


async def act(stack: Tended, *actions: Action) -> list[str]:
    said: list[str] = []
    actor = Actor(stack.world(), lambda: stack.members().values(), said.append)
    for action in actions:
        await actor.perform(action)
    return said


async def burst(stack: Tended, number: int = 1) -> Publish:
    """A burst member that has passed its gate."""
    slot = f"burst-{number}"
    await act(stack, Create(slot, f"{number:07x}"))
    member = stack.active(slot)
    await act(stack, Prepare(slot, member.id))
    return Publish(slot, member.id, member.addresses)


def record(stack: Tended, slot: str) -> Record:
    return next(each for each in stack.every_record() if each.comment.endswith(f" {slot}"))


async def test_a_burst_member_from_nothing_to_visitors_and_back(any_stack: Tended) -> None:
    stack = any_stack
    published = await burst(stack)
    await act(stack, published, published)
    member = stack.members()["burst-1"]
    assert stack.rotation()[member.address or ""] == "burst-1"
    assert len(stack.rotation()) == 3
    assert stack.ran("burst-1") == ["receive", "peers", "gate"]
    [told] = [
        ran for ran in stack.cloud.commands(stack.since) if "peers" in ran.command and ran.name == member.name
    ]
    assert set(json.loads(told.stdin)["peers"]) == {"web-1", "web-2", "burst-1"}

    leaving = record(stack, "burst-1")
    with pytest.raises(FleetError, match="still has visitors"):
        await act(stack, Drain("burst-1", member.id))
    with pytest.raises(FleetError, match="still has visitors"):
        await act(stack, Delete("burst-1", member.id))
    await act(stack, Withdraw("burst-1", (leaving,)), Withdraw("burst-1", (leaving,)))
    said = await act(stack, Drain("burst-1", member.id))
    assert said == [f"{member.name} ({member.address}) is drained"]
    await act(stack, Delete("burst-1", member.id), Delete("burst-1", member.id))
    assert set(stack.members()) == {"web-1", "web-2"}


async def test_a_burst_member_is_born_as_a_slot_is(stack: Tended) -> None:
    await act(stack, Create("burst-1", "abcdef0"))
    posts = [request for request in stack.cloud.log() if str(request) == "POST /v2/droplets"]
    slot, own = posts[-2].body, posts[-1].body
    differing = {key for key in slot if slot[key] != own[key]}
    assert differing == {"name", "tags", "user_data"}
    assert set(own["tags"]) - set(slot["tags"]) == {stack.config.burst_tag}
    documents = [yaml.safe_load(body["user_data"]) for body in (slot, own)]
    assert documents[1]["hostname"] == "burst-1"
    assert {key for key in documents[0] if documents[0][key] != documents[1][key]} == {
        "hostname",
        "ssh_keys",
        "write_files",
    }


async def test_a_create_whose_answer_was_lost_makes_no_twin(stack: Tended) -> None:
    stack.cloud.fail(service="digitalocean", method="POST", path="/v2/droplets$", drop="answer", times=1)
    with pytest.raises(FleetError, match="did not answer"):
        await act(stack, Create("burst-1", "abcdef0"))
    await act(stack, Create("burst-1", "abcdef0"))
    with pytest.raises(FleetError, match="burst-1 has a droplet already: burst-1-abcdef0"):
        await act(stack, Create("burst-1", "1234567"))
    assert set(stack.members()) == {"web-1", "web-2", "burst-1"}


async def test_a_gate_that_fails_tells_which_check(stack: Tended) -> None:
    stack.cloud.script(name="burst-1", program="gate", exit=1, stdout="FAIL app (60.0 s): no answer")
    with pytest.raises(FleetError, match=r"flotilla-gate ended with 1: FAIL app"):
        await burst(stack)


async def test_a_dead_members_record_is_put_aside_and_back(any_stack: Tended) -> None:
    stack = any_stack
    before = record(stack, "web-2")
    await act(stack, Eject("web-2", (before,)), Eject("web-2", (before,)))
    out = record(stack, "web-2")
    assert out == replace(before, name=f"out-web-2.{stack.config.domain}")
    # A record that somebody made by hand is no member.
    elsewhere = before.content.rpartition(".")[0] + ".250"
    stack.records().create(elsewhere, "by hand")
    with pytest.raises(FleetError, match="last record"):
        await act(stack, Eject("web-1", (record(stack, "web-1"),)))
    await act(stack, Restore("web-2", (out,)), Restore("web-2", (out,)))
    assert record(stack, "web-2") == before


async def test_a_slots_machine_is_switched_off_and_on_and_made_anew(stack: Tended) -> None:
    before = stack.members()["web-1"]
    stack.cloud.kill(before.name)
    await act(stack, PowerCycle("web-1", before.id), PowerCycle("web-1", before.id))
    await act(stack, Rebuild("web-1", before.id), Prepare("web-1", before.id))
    assert stack.members()["web-1"] == before
    assert stack.ran("web-1") == ["receive", "peers", "gate"]


@pytest.mark.parametrize("orders", ["frozen", "missing", "broken"])
async def test_a_switch_that_is_off_or_unknown_holds_everything(stack: Tended, orders: str) -> None:
    member, led = stack.members()["web-1"], record(stack, "web-2")
    if orders == "frozen":
        stack.order(create=FROZEN, destroy=FROZEN)
    elif orders == "missing":
        (stack.state / "hold.json").unlink()
    else:
        (stack.state / "hold.json").write_text("{")
    since = now()
    for action in (
        Create("burst-1", "abcdef0"),
        Prepare("web-1", member.id),
        Eject("web-2", (led,)),
        PowerCycle("web-1", member.id),
        Rebuild("web-1", member.id),
        Delete("burst-1", member.id),
    ):
        with pytest.raises(HeldError):
            await act(stack, action)
    assert stack.cloud.changes(since) == []


async def test_what_is_not_the_stacks_is_never_touched(stack: Tended) -> None:
    member, led = stack.members()["web-1"], record(stack, "web-1")
    strangers = stack.cloud.post(
        "droplets",
        {"name": "burst-9-abcdef0", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"},
    )["droplet"]["id"]
    since = now()
    for action in (
        Delete("burst-9", strangers),
        Drain("burst-9", strangers),
        PowerCycle("burst-9", strangers),
        Delete("web-1", member.id),
        Drain("web-1", member.id),
        Rebuild("burst-1", member.id),
        PowerCycle("web-2", member.id),
        Withdraw("web-1", (led,)),
        Eject("web-2", (led,)),
        Eject("web-1", (replace(led, content="127.64.0.9"),)),
    ):
        with pytest.raises(ForeignError):
            await act(stack, action)
    with pytest.raises(GoneError):
        await act(stack, PowerCycle("web-1", 999_999_999))
    assert stack.cloud.changes(since) == []


async def test_one_look_at_everything(stack: Tended) -> None:
    stack.cloud.kill(stack.members()["web-2"].name)
    observer = Observer()
    seen = await observer.observe(stack.world())
    assert seen.droplets is not None
    assert [member.slot for member in seen.droplets] == ["web-1", "web-2"]
    assert seen.records is not None
    assert len(seen.records) == 2
    off = next(member for member in seen.droplets if member.slot == "web-2")
    assert off.status == "off" or not seen.health[off.id].answered
    assert seen.orders is not None
    assert observer.complaints == ()


@pytest.mark.parametrize(
    "fault",
    [
        {"error": {"status": 500}},
        {"error": {"status": 429, "headers": {"Retry-After": "30"}}},
        {"drop": "answer"},
        {"error": {"status": 403}},
    ],
    ids=["500", "429", "lost", "403"],
)
async def test_a_list_that_cannot_be_had_is_not_an_empty_one(stack: Tended, fault: dict[str, object]) -> None:
    stack.cloud.fail(service="digitalocean", method="GET", path="/v2/droplets", **fault)
    stack.cloud.fail(service="cloudflare", method="GET", path="dns_records", **fault)
    observer = Observer()
    seen = await observer.observe(stack.world())
    assert (seen.droplets, seen.records) == (None, None)
    assert len(observer.complaints) == 2
    stack.cloud.heal()
    again = await observer.observe(stack.world(), afresh=True)
    # A cloud that asks to be left alone is.
    assert (again.droplets is None) == ("429" in str(fault))
