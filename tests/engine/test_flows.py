"""The life of a stack by the real engine, in the order in which a user lives it. Machines are simulated."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.engine.site import Site, now

pytestmark = pytest.mark.engine

SLOT = ["web-1", "web-1-secrets", "web-1-gate", "web-1-drain", "web-1-dns"]


@pytest.fixture(scope="module")
def site(module_site: Site) -> Site:
    """One stack for the whole story: each test takes it where the one before has left it."""
    return module_site


def test_preview_changes_nothing(site: Site) -> None:
    began = now()
    run = site.act("preview")
    assert run.changes == {"create": 28}
    assert site.cloud.changes(began) == []


def test_up_makes_everything_in_order(site: Site) -> None:
    run = site.up()
    assert run.changes == {"create": 28}
    created = run.done("create")
    assert [name for name in created if name in SLOT] == SLOT
    assert created.index("firewall-web") < created.index("web-1")
    assert created.index("database-1-gate") < created.index("web-1-secrets")
    site.check_whole(1)


def test_outputs_name_the_site_its_members_and_the_database(site: Site) -> None:
    outputs = site.outputs()
    droplets = {name.rpartition("-")[0]: droplet for name, droplet in site.droplets().items()}
    assert outputs["url"] == f"https://{site.domain}"
    assert outputs["members"] == {"web-1": address(droplets["web-1"], "public")}
    assert outputs["database"] == {
        "engine": "mysql",
        "host": address(droplets["database-1"], "private"),
        "port": 3306,
    }


def test_a_second_up_changes_nothing(site: Site) -> None:
    began = now()
    assert site.up("--expect-no-changes").changes == {}
    assert site.cloud.changes(began) == []


def test_refresh_finds_no_drift(site: Site) -> None:
    run = site.act("refresh", "--expect-no-changes")
    assert run.changes == {}


def test_a_larger_count_adds_members_and_touches_none(site: Site) -> None:
    before = site.droplets()
    site.set("web", count=3)
    run = site.up()
    assert run.changes == {"create": 10, "replace": 1}, "all members are told of the new ones"
    assert before.items() <= site.droplets().items()
    records = [name for name in run.done("create") if name.endswith("-dns")]
    assert records == ["web-2-dns", "web-3-dns"], "one after the other"
    site.check_whole(3)


def test_a_smaller_count_takes_the_record_then_drains_then_deletes(site: Site) -> None:
    droplets = {name.rpartition("-")[0]: droplet for name, droplet in site.droplets().items()}
    records = site.cloud.records(site.domain)
    site.set("web", count=1)
    began = now()
    run = site.up()
    assert run.changes == {"delete": 10, "replace": 1}, "all members are told who is left"
    assert run.done("delete")[0] == "web-3-dns", "the newest first"
    for slot in ("web-3", "web-2"):
        steps = [name for name in run.done("delete") if name.startswith(slot)]
        assert steps == [f"{slot}-dns", f"{slot}-drain", f"{slot}-gate", f"{slot}-secrets", slot]
        record = records[address(droplets[slot], "public")]
        unrecorded = moment(site, began, f"DELETE .*/dns_records/{record}")
        deleted = moment(site, began, f"DELETE /v2/droplets/{droplets[slot]['id']}")
        assert unrecorded < drained(site, began, droplets[slot]["name"]) < deleted, "as the clouds saw it"
    site.check_whole(1)


def moment(site: Site, began: float, request: str) -> float:
    """When the one request of this kind arrived."""
    [at] = [found.at for found in site.cloud.changes(began) if re.fullmatch(request, str(found))]
    return at


def drained(site: Site, began: float, droplet: str) -> float:
    """When this droplet was told to drain."""
    commands = site.cloud.commands(began)
    [at] = [ran.at for ran in commands if ran.name == droplet and "flotilla-drain" in ran.command]
    return at


def test_destroy_leaves_nothing(site: Site) -> None:
    run = site.destroy()
    assert run.done("delete")[0] == "web-1-dns"
    assert site.state() == []
    assert site.cloud.inventory() == {}


def address(droplet: dict[str, Any], kind: str) -> str:
    return next(
        str(network["ip_address"]) for network in droplet["networks"]["v4"] if network["type"] == kind
    )
