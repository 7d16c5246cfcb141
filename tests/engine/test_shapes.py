"""Stacks of another shape than dev: the cloud's own DNS, another database, machines from a distribution's image."""

from __future__ import annotations

import pytest

from tests.engine.site import Site, now

pytestmark = pytest.mark.engine


def test_a_site_without_an_edge_is_named_by_the_clouds_own_dns(site: Site) -> None:
    site.config["flotilla:domain"] = f"www.{site.stack}.example.com"
    site.config["flotilla:edge"] = {"kind": "none", "zone": f"{site.stack}.example.com"}
    site.set("web", count=2)
    site.up()
    assert site.addresses() == [], "nothing at the edge"
    records = site.cloud.list(f"domains/{site.stack}.example.com/records", "domain_records")
    told = sorted(row["data"] for row in records if (row["type"], row["name"]) == ("A", "www"))
    assert told == sorted(site.outputs()["members"].values())
    assert site.up("--expect-no-changes").changes == {}
    site.destroy()
    assert site.cloud.inventory() == {}


def test_machines_from_a_distributions_image_are_handed_their_files_and_nothing_changes_twice(
    site: Site,
) -> None:
    site.set("web", image="debian-13-x64")
    site.set("database", image="debian-13-x64", engine="postgresql")
    began = now()
    site.up()
    site.check_whole(1)
    assert site.outputs()["database"]["port"] == 5432
    delivered = {
        ran.name.rpartition("-")[0]: ran.stdin
        for ran in site.cloud.commands(began)
        if "install" in ran.command
    }
    assert set(delivered) == {"web-1", "database-1"}
    assert all(text.startswith('{"archive": "') for text in delivered.values())
    assert site.up("--expect-no-changes").changes == {}
