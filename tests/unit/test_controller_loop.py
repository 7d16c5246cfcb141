"""The loop around decisions: what is on disk before what is done, what a failure does, and what is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.config import CONTROLLER_CONFIG, CONTROLLER_SECRETS
from fleet.controller import loop, memory, metrics, probe
from fleet.controller.act import Actor
from fleet.controller.loop import Controller, Pass, RunningError
from fleet.controller.metrics import Metrics
from fleet.controller.model import (
    Action,
    Clock,
    Create,
    Decision,
    Delete,
    Fence,
    Figures,
    Health,
    Memory,
    Observation,
    Outcome,
    Policy,
    Reason,
    Seen,
)
from fleet.controller.probe import Reply
from fleet.controller.source import Source
from fleet.controller.world import World, policy
from fleet.errors import FleetError
from tests.unit.test_controller_config import changed, config, secrets

CREATE = Create("burst-1", "abcdef0")
DELETE = Delete("burst-2", 7)
MEMBER = Seen(
    id=1, name="web-1-0000001", status="active", tags=frozenset({"prod", "prod-web"}), images=frozenset({"7"})
)


class StillObserver:
    """Sees one healthy member."""

    def __init__(self) -> None:
        self.members = (MEMBER,)
        self.complaints: tuple[str, ...] = ()
        self.seen: list[Observation] = []

    async def observe(
        self, world: World, under_way: Any = (), outcomes: Any = (), *, afresh: bool = False
    ) -> Observation:
        seen = Observation(
            clock=Clock(wall=1.8e9, monotonic=1.0, boot="b"),
            seed="s",
            droplets=(MEMBER,),
            records=(),
            health={1: Health(answered=True, fence=Fence.OPEN, ready=True, cpu=0.5)},
            orders=memory.read_orders(Path("/nonexistent")),
            under_way=tuple(under_way),
            outcomes=tuple(outcomes),
        )
        self.seen.append(seen)
        return seen


class Script:
    """Decides what a test says, pass by pass, and remembers how often it was asked."""

    def __init__(self, *actions: tuple[Action, ...]) -> None:
        self._actions = list(actions)

    def __call__(self, _: Policy, seen: Observation, before: Memory) -> Decision:
        chosen = self._actions.pop(0) if self._actions else ()
        return Decision(
            chosen, replace(before, serial=before.serial + 1), (Reason("fleet", "why"),), Figures(serving=1)
        )


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[Action]:
    done: list[Action] = []

    async def perform(_: Actor, action: Action) -> None:
        done.append(action)
        if action == DELETE:
            raise FleetError("the cloud refused")

    monkeypatch.setattr(Actor, "perform", perform)
    return done


def controller(state: Path, script: Script, said: list[str] | None = None) -> Controller:
    memory.begin(state)
    world = World.of(config(), secrets(), state)
    made = Controller(lambda: world, state, script, (said if said is not None else []).append)
    made.observer = StillObserver()  # type: ignore[assignment]
    return made


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


async def test_the_memory_is_on_disk_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serials: list[int] = []

    async def perform(_: Actor, action: Action) -> None:
        serials.append(memory.load(tmp_path).serial)

    monkeypatch.setattr(Actor, "perform", perform)
    await controller(tmp_path, Script((CREATE,))).once()
    assert serials == [1]
    assert memory.load(tmp_path).serial == 2


async def test_what_ends_is_told_to_the_next_pass(tmp_path: Path, performed: list[Action]) -> None:
    made = controller(tmp_path, Script((CREATE, DELETE)))
    await made.once()
    assert performed == [CREATE, DELETE]
    assert made.observer.seen[-1].outcomes == (Outcome(CREATE), Outcome(DELETE, "the cloud refused"))  # type: ignore[attr-defined]
    log = [json.loads(line) for line in (tmp_path / loop.LOG).read_text().splitlines()]
    assert [line["kind"] for line in log] == ["reason", "start", "start", "end", "failed"]


async def test_with_a_full_disk_nothing_is_done(
    tmp_path: Path, performed: list[Action], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    made = controller(tmp_path, Script((CREATE,), (CREATE,)), said)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save = memory.save
    monkeypatch.setattr(memory, "save", full)
    await made.once()
    assert performed == []
    assert "the memory cannot be written, so nothing is done: [Errno 28]" in said[-1]
    monkeypatch.setattr(memory, "save", save)
    await made.once()
    assert performed == [CREATE]


async def test_a_dry_run_writes_nothing(tmp_path: Path, performed: list[Action]) -> None:
    made = controller(tmp_path, Script((CREATE,)))
    before = contents(tmp_path)
    assert (await made.look()).decision.actions == (CREATE,)
    assert performed == []
    assert contents(tmp_path) == before


async def test_told_to_stop_it_cuts_off_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, stop = asyncio.Event(), asyncio.Event()

    async def perform(_: Actor, action: Action) -> None:
        started.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Actor, "perform", perform)
    running = asyncio.create_task(controller(tmp_path, Script((CREATE,))).run(stop))
    await started.wait()
    stop.set()
    await asyncio.wait_for(running, 5)


async def test_an_action_that_ends_wakes_the_loop(
    tmp_path: Path, performed: list[Action], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PASS_SECONDS", 30.0)
    made = controller(tmp_path, Script((CREATE,)))
    stop, passes = asyncio.Event(), list[Pass]()

    def told(done: Pass) -> None:
        passes.append(done)
        if done.observation.outcomes:
            stop.set()

    made.told = told
    await asyncio.wait_for(made.run(stop), 5)
    assert passes[-1].observation.outcomes == (Outcome(CREATE),)


def test_two_controllers_do_not_share_a_memory(tmp_path: Path) -> None:
    with loop.only_one(tmp_path), pytest.raises(RunningError, match="a controller runs already"):
        loop.only_one(tmp_path)
    loop.only_one(tmp_path).close()


@pytest.fixture
def source(tmp_path: Path) -> tuple[Source, Callable[[str], None], list[str]]:
    said: list[str] = []
    (tmp_path / CONTROLLER_CONFIG).write_text(config().to_json())
    (tmp_path / CONTROLLER_SECRETS).write_text(secrets().to_json())

    def rewrite(text: str) -> None:
        new = tmp_path / "new"
        new.write_text(text)
        new.replace(tmp_path / CONTROLLER_CONFIG)

    return Source(tmp_path, tmp_path, said.append), rewrite, said


def test_a_changed_config_is_taken_up_and_a_bad_one_is_not(
    source: tuple[Source, Callable[[str], None], list[str]],
) -> None:
    given, rewrite, said = source
    first = given.world()
    assert given.world() is first
    rewrite(config(max=9).to_json())
    assert policy(given.world().config).maximum == 9
    for bad in (changed(config().to_json(), version=2), "{"):
        rewrite(bad)
        assert policy(given.world().config).maximum == 9
        assert said[-1].startswith("the last good config stays in force: config")
    told = len(said)
    given.world()
    assert len(said) == told


def test_without_any_config_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="cannot be read"):
        Source(tmp_path, tmp_path, print).world()


async def ask(port: int, path: str) -> Reply:
    reply = await probe.get("127.0.0.1", port, path)
    assert reply is not None
    return reply


async def test_metrics_are_served_as_prometheus_reads_them(tmp_path: Path, performed: list[Action]) -> None:
    numbers = Metrics()
    made = controller(tmp_path, Script((CREATE, DELETE)))
    made.told = numbers.note
    await made.once()
    server = await metrics.serve(numbers, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        text = (await ask(port, "/metrics")).body.decode()
        assert (await ask(port, "/")).status == 404
    values: Mapping[str, str] = dict(
        line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")
    )
    assert values["flotilla_serving"] == "1"
    assert values['flotilla_actions_total{action="create",result="done"}'] == "1"
    assert values['flotilla_actions_total{action="delete",result="failed"}'] == "1"
    assert values['flotilla_member_cpu_ratio{member="web-1-0000001"}'] == "0.5"
    assert values["flotilla_held_destroy"] == "1"
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {name.partition("{")[0] for name in values} <= named


async def test_the_status_is_whole_at_any_time(tmp_path: Path, performed: list[Action]) -> None:
    made = controller(tmp_path, Script())
    metrics.publish(tmp_path / metrics.STATUS, await made.once(), ["the token lacks droplet:delete"])
    document = json.loads((tmp_path / metrics.STATUS).read_text())
    assert document["figures"]["serving"] == 1
    assert document["warnings"] == ["the token lacks droplet:delete"]
    assert document["orders"] is None
