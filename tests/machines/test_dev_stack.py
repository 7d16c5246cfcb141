"""The dev stack on real machines: what a person does with it day by day."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from tests.live_stack import LiveStack, Page, address_of, trickle
from tests.packet_field import Side, address_on

pytestmark = [pytest.mark.machines, pytest.mark.timeout(600)]


def test_the_line_that_visit_prints_answers_through_the_edge(stack: LiveStack) -> None:
    printed = stack.sandbox.command("visit", f"https://{stack.domain}")
    line = shlex.split(printed.strip().splitlines()[-1])
    assert line[0] == "curl"
    pages = [Page.read(subprocess.check_output(line, text=True, timeout=30)) for _ in range(3)]
    first = Page.read(printed)
    assert first.member == "web-1"
    assert pages == [Page("web-1", first.count + later) for later in (1, 2, 3)]


def test_every_point_of_presence_serves_the_site(stack: LiveStack) -> None:
    before = stack.visit()
    assert [stack.visit(point).count - before.count for point in range(3)] == [1, 2, 3]


def test_the_outputs_name_site_members_and_database(stack: LiveStack) -> None:
    assert stack.outputs() == {
        "url": f"https://{stack.domain}",
        "members": {"web-1": address_of(stack.droplet("web-1"), "public")},
        "members6": {"web-1": address_on(stack.droplet("web-1"), Side.PUBLIC6)},
        "database": {
            "engine": "mysql",
            "host": address_of(stack.droplet("database-1"), "private"),
            "port": 3306,
        },
    }


def test_a_second_up_changes_nothing(stack: LiveStack) -> None:
    before = len(stack.sandbox.requests())
    stack.up("--expect-no-changes")
    assert [call for call in stack.sandbox.requests()[before:] if call["method"] != "GET"] == []


def test_a_refresh_finds_no_drift(stack: LiveStack) -> None:
    stack.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_growing_to_three_and_back_loses_no_request(stack: LiveStack) -> None:
    before = stack.visit()
    with trickle(stack) as seen:
        stack.configure("web.count", 3)
        stack.up()
        grown = stack.outputs()["members"]
        calls = len(stack.sandbox.requests())
        stack.configure("web.count", 1)
        stack.up()
    assert seen.failures == []
    assert sorted(grown) == ["web-1", "web-2", "web-3"]
    assert {page.member for page in seen.pages} == {"web-1", "web-2", "web-3"}
    counts = sorted(page.count for page in seen.pages)
    assert counts == list(range(before.count + 1, before.count + 1 + len(counts))), "each visit counts once"
    assert list(stack.outputs()["members"]) == ["web-1"]
    assert any(b"drain" in line for line in stack.arguments), "two members were drained from here"
    assert stack.visit().member == "web-1"
    left = [call["path"] for call in stack.sandbox.requests()[calls:] if call["method"] == "DELETE"]
    # A record of each family for each of the two.
    assert [path.split("/")[-2] for path in left] == ["dns_records"] * 4 + ["droplets"] * 2


def test_the_data_outlives_the_databases_machine(stack: LiveStack) -> None:
    old, before = stack.droplet("database-1"), stack.visit()
    stack.up("--diff", "--replace", stack.urn("database-1"))
    new = stack.droplet("database-1")
    assert new["id"] != old["id"]
    assert new["volume_ids"] == old["volume_ids"]
    assert stack.visit() == Page("web-1", before.count + 1)
    names = [droplet["id"] for droplet in stack.sandbox.api("GET", "droplets")["droplets"]]
    assert old["id"] not in names
    stack.up("--expect-no-changes")
