"""The desk's commands for members and images against a stack that is up: the cloud, the edge and SSH are the real ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engine.site import NEXT_WEB_IMAGE, Site, now

pytestmark = pytest.mark.engine

FENCE = {
    "slot": "web",
    "state": "open",
    "reason": "",
    "requests": 40,
    "errors": 1,
    "latency": {"bounds": [0.1, 1.0], "counts": [39, 1, 0]},
    "recent": {"requests": 4, "errors": 0},
}


@pytest.fixture
def members(module_site: Site) -> Site:
    """Two members; the second one's fence is held."""
    site = module_site
    if not site.droplets():
        site.set("web", count=2, rollout={"canary_seconds": 0})
        site.up()
    held = json.dumps(FENCE | {"state": "held", "reason": "looking at its memory"})
    site.cloud.script(name="^web-1-", program="flotilla-fence status", stdout=json.dumps(FENCE))
    site.cloud.script(name="^web-2-", program="flotilla-fence status", stdout=held)
    return site


def fleet(site: Site, *arguments: str, expect: int = 0) -> tuple[str, str]:
    """What a command printed for scripts, and for people."""
    done = site.fleet(*arguments)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_status_tells_image_rotation_fence_and_visits_of_each_member(members: Site) -> None:
    site = members
    printed, _ = fleet(site, "status", "-s", site.stack, "--json")
    rows: list[dict[str, Any]] = json.loads(printed)
    assert [(row["slot"], row["in_rotation"], row["fence"], row["image"]) for row in rows] == [
        ("web-1", True, "open", site.template.images["web"]),
        ("web-2", True, "held", site.template.images["web"]),
    ]
    assert {row["address"] for row in rows} == set(site.addresses())
    assert (rows[0]["requests"], rows[0]["errors"], rows[0]["p99_seconds"]) == (40, 1, 1.0)
    table, _ = fleet(site, "status", "-s", site.stack)
    assert "held" in table.splitlines()[2]
    assert table.splitlines()[2].endswith("looking at its memory")


def test_a_member_is_fenced_over_ssh_and_let_back_and_the_last_one_is_not(members: Site) -> None:
    site, began = members, now()
    fleet(site, "unfence", "web-2", "-s", site.stack)
    fleet(site, "fence", "web-2", "-s", site.stack, "--reason", "it's slow")
    _, said = fleet(site, "fence", "web-1", "-s", site.stack, "--reason", "too", expect=1)
    assert f"web-1 is the last member of stack {site.stack} that serves visitors" in said
    ran = [(found.name.rpartition("-")[0], found.command) for found in site.cloud.commands(began)]
    assert [found for found in ran if "status" not in found[1]] == [
        ("web-2", "/usr/local/sbin/flotilla-fence release"),
        ("web-2", "/usr/local/sbin/flotilla-fence hold --reason 'it'\"'\"'s slow'"),
    ]


def test_images_in_use_are_listed_as_such_and_never_pruned(members: Site) -> None:
    site, image = members, members.template.images["web"]
    rows = {row["name"]: row["used_by"] for row in json.loads(fleet(site, "images", "--json")[0])}
    assert rows[image][0] == f"{site.stack} (web.image)"
    assert sum(user.startswith("droplet web-") for user in rows[image]) == 2
    assert rows[NEXT_WEB_IMAGE] == []
    report = json.loads(fleet(site, "images", "prune", "--keep", "1", "--json")[0])
    assert report["deleted"] is False
    assert image not in {row["name"] for row in report["delete"]}
