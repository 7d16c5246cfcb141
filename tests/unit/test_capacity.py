"""Whether an update fits into the account: refused before anything is made, with numbers and a way on."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from tests.harness import World, droplet
from tests.unit.test_program import refused, run
from tests.unit.test_settings import good

FLEET = [droplet("database-1-aa"), droplet("web-1-bb"), droplet("web-2-cc")]
OLD = [droplet("database-1-aa"), droplet("web-1-bb", image="90"), droplet("web-2-cc", image="90")]


def world(limit: int, droplets: list[dict[str, Any]]) -> World:
    return World(droplet_limit=limit, droplets=droplets)


def with_web(**changes: Any) -> dict[str, Any]:
    config = good()
    config["web"] |= changes
    return config


def test_a_fleet_that_stays_as_it_is_needs_no_room() -> None:
    assert run(world=world(3, FLEET))


def test_a_rollout_needs_room_for_both() -> None:
    assert run(world=world(5, OLD))
    (line,) = refused(world=world(4, OLD))
    assert line.startswith("the account may have 4 machines and has 3; this update needs 2 more at its peak")
    assert "5 together" in line
    for fix in ("higher limit", "`fleet rollout -s dev --batch 1`", "web.rollout.mode to in_place"):
        assert fix in line


def test_another_size_is_a_rollout_too() -> None:
    (line,) = refused(with_web(size="s-1vcpu-2gb"), world=world(4, FLEET))
    assert "2 beside members that are replaced" in line


def test_without_any_room_no_batch_is_proposed() -> None:
    (line,) = refused(world=world(3, OLD))
    assert "--batch" not in line
    assert "in_place" in line


def test_in_place_needs_no_room() -> None:
    assert run(with_web(rollout={"mode": "in_place"}), world=world(3, OLD))


def test_a_partial_rollout_needs_room_for_its_batch_only() -> None:
    world_ = world(4, [*FLEET[:2], droplet("web-2-cc", image="90")])
    world_.images.append({**world_.images[1], "id": 90, "name": "web-2026.11.20-aaaa"})
    partial = {"through": 1, "rest": "web-2026.11.20-aaaa"}
    assert run(with_web(rollout={"partial": partial}), world=world_)


def test_new_slots_need_room_and_other_stacks_take_it() -> None:
    others = [droplet(f"web-{number}-dd", tags=["prod", "prod-web"]) for number in range(3)]
    assert run(with_web(count=4), world=world(8, [*FLEET, *others]))
    (line,) = refused(with_web(count=4), world=world(7, [*FLEET, *others]))
    assert "has 6; this update needs 2 more at its peak (2 for new slots), 8 together" in line
    assert "lower flotilla:web.count" in line
    assert "in_place" not in line


def test_the_first_update_of_all_is_counted() -> None:
    (line,) = refused(world=world(2, []))
    assert "needs 3 more" in line


@pytest.mark.parametrize(
    ("unknown", "says"),
    [
        (World(failing=frozenset({"getAccount"})), "did not tell its droplet limit"),
        (World(failing=frozenset({"getDroplets"})), "did not tell its droplets"),
        (World(droplet_limit=0), "did not say how many droplets"),
    ],
)
def test_what_is_not_known_is_said_and_not_guessed(
    unknown: World, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lambda text, *_: warnings.append(text))
    assert run(world=unknown)
    (warning,) = warnings
    assert warning.startswith("whether the account has room for this update is not known: ")
    assert says in warning
