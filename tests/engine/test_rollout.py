"""Changing a running fleet by the real engine: in which order the clouds and the machines see it happen."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.engine.site import NEXT_WEB_IMAGE, Site, now

pytestmark = pytest.mark.engine

UNWATCHED = {"canary_seconds": 0}


def sequence(site: Site, began: float) -> list[str]:
    """What changed for visitors since then, as `switch web-1`, `drain web-1-3f2a` and so on, in the clouds' order."""
    names = {str(droplet["id"]): name for name, droplet in site.droplets().items()}
    found = [
        (ran.at, f"drain {slot_of(ran.name)}") for ran in site.cloud.commands(began) if is_drain(ran.command)
    ]
    for request in site.cloud.changes(began):
        if "dns_records" in request.path:
            found.append((request.at, f"{request.method} record"))
        elif request.method == "POST" and request.path == "/v2/droplets":
            found.append((request.at, f"create {slot_of(request.body['name'])}"))
        elif request.method == "DELETE" and (gone := re.fullmatch(r"/v2/droplets/(\d+)", request.path)):
            assert gone[1] not in names, "still there"
            found.append((request.at, "delete droplet"))
    return [what for _, what in sorted(found)]


def is_drain(command: str) -> bool:
    return "flotilla-drain" in command


def slot_of(droplet: str) -> str:
    return droplet.rpartition("-")[0]


def test_in_place_each_member_leaves_before_its_successor_comes(site: Site) -> None:
    site.set("web", count=2, rollout={"mode": "in_place", **UNWATCHED})
    site.up()
    before = site.droplets()
    site.set("web", image=NEXT_WEB_IMAGE)
    began = now()
    site.up()
    each = ["DELETE record", "drain {}", "delete droplet", "create {}", "POST record"]
    assert sequence(site, began) == [step.format(slot) for slot in ("web-1", "web-2") for step in each]
    assert not before.keys() & {name for name in site.droplets() if name.startswith("web")}
    site.check_whole(2)
    assert site.up("--expect-no-changes").changes == {}


def test_a_mode_chosen_together_with_an_image_holds_from_the_first_member_on(site: Site) -> None:
    site.set("web", count=2, rollout=UNWATCHED)
    site.up()
    site.set("web", image=NEXT_WEB_IMAGE, rollout={"mode": "in_place", **UNWATCHED})
    began = now()
    site.up()
    assert sequence(site, began)[:3] == ["DELETE record", "drain web-1", "delete droplet"]
    site.check_whole(2)


def test_in_place_a_member_that_fails_its_gate_leaves_the_others_alone(site: Site) -> None:
    site.set("web", count=2, rollout={"mode": "in_place", **UNWATCHED})
    site.up()
    [other] = [name for name in site.droplets() if name.startswith("web-2-")]
    site.cloud.script(name="^web-1-", program="flotilla-gate", exit=1)
    site.set("web", image=NEXT_WEB_IMAGE)
    site.up(expect=1)
    assert other in site.droplets()
    assert len(site.addresses()) == 1
    site.cloud.calm()
    site.recover()
    site.up()
    site.check_whole(2)


def test_a_surge_switches_one_by_one_and_deletes_last(site: Site) -> None:
    site.set("web", count=2)
    site.up()
    site.set("web", image=NEXT_WEB_IMAGE)
    began = now()
    site.up()
    steps = sequence(site, began)
    assert sorted(steps[:2]) == ["create web-1", "create web-2"]
    assert steps[2:4] == ["PUT record", "PUT record"]
    assert sorted(steps[4:6]) == ["drain web-1", "drain web-2"]
    assert steps[6:] == ["delete droplet", "delete droplet"]
    site.check_whole(2)


def test_growth_and_shrinking_touch_no_other_member(site: Site) -> None:
    site.set("web", count=2)
    site.up()
    before = site.droplets()
    site.set("web", count=3)
    site.up()
    assert before.items() <= site.droplets().items()
    site.set("web", count=2)
    site.up()
    assert site.droplets() == before
    site.check_whole(2)


def test_more_members_than_the_account_takes_are_refused_before_any_is_made(site: Site) -> None:
    site.set("web", count=30)
    began = now()
    run = site.up(expect=1)
    assert "the account may have 25 machines and has 0; this update needs 31 more" in run.printed
    assert site.cloud.changes(began) == []


def test_a_partial_rollout_stops_where_it_is_told_and_goes_on(site: Site) -> None:
    site.set("web", count=2)
    site.up()
    before = site.droplets()
    old = site.config["flotilla:web"]["image"]
    site.set("web", image=NEXT_WEB_IMAGE, rollout={"partial": {"through": 1, "rest": old}, **UNWATCHED})
    site.up()
    kept = before.keys() & site.droplets().keys()
    assert {slot_of(name) for name in kept} == {"database-1", "web-2"}
    site.check_whole(2)
    site.set("web", rollout=UNWATCHED)
    site.up()
    assert {slot_of(name) for name in before.keys() & site.droplets().keys()} == {"database-1"}
    site.check_whole(2)


def fence(state: str) -> str:
    """What a member's fence says of itself."""
    status = {
        "slot": "web-1",
        "state": state,
        "reason": "its app answers 500",
        "since": 0,
        "requests": 0,
        "errors": 0,
        "latency": {"bounds": [0.1, 1.0], "counts": [0, 0, 0]},
        "recent": {"requests": 0, "errors": 0},
    }
    return json.dumps(status)


@pytest.mark.timeout(300)
def test_a_canary_that_does_badly_stops_the_rollout_and_a_fix_finishes_it(site: Site) -> None:
    site.cloud.script(program="flotilla-fence status", stdout=fence("open"))
    site.set("web", count=2, rollout={"canary_seconds": 1})
    site.up()
    before, records = site.droplets(), site.cloud.records(site.domain)
    old = site.config["flotilla:web"]["image"]
    [second] = [address_of(droplet) for name, droplet in before.items() if name.startswith("web-2-")]

    site.cloud.calm()
    site.cloud.script(name="^web-1-", program="flotilla-fence status", stdout=fence("closed"))
    site.cloud.script(program="flotilla-fence status", stdout=fence("open"))
    site.set("web", image=NEXT_WEB_IMAGE)
    began = now()
    run = site.up(expect=1)
    assert "the canary web-1" in run.printed
    assert sequence(site, began).count("PUT record") == 1, "the first slot's"
    assert second in site.cloud.records(site.domain), "slot 2 stays where it was"
    assert len(site.cloud.records(site.domain)) == len(records)
    assert before.items() <= site.droplets().items(), "the old members are all there"
    [held] = [ran.name for ran in site.cloud.commands(began) if "flotilla-fence hold" in ran.command]
    assert held.startswith("web-1-")
    assert held not in before

    site.cloud.calm()
    site.cloud.script(program="flotilla-fence status", stdout=fence("open"))
    site.set("web", image=old)
    site.recover()
    run = site.up()
    switched = [name for name in run.done("update", "create", "replace") if name in CHAIN]
    assert switched == CHAIN
    site.check_whole(2)


CHAIN = ["web-1-dns", "web-canary", "web-2-dns"]


def address_of(droplet: dict[str, Any]) -> str:
    return next(str(net["ip_address"]) for net in droplet["networks"]["v4"] if net["type"] == "public")
