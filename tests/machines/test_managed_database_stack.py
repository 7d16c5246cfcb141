"""A site on a managed database, with visitors while the database fails over, gets another size and another user."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.live_stack import LiveStack, Trickle, trickle

pytestmark = [pytest.mark.machines, pytest.mark.timeout(600)]

DATABASE = {"kind": "managed", "engine": "postgresql", "nodes": 2, "size": "db-s-1vcpu-2gb"}
# A standby serves within seconds; the rest is for a machine that does much else.
_AWAY_SECONDS = 15
_EVERY_SECONDS = 0.2


@pytest.fixture(scope="module")
def clustered(stack: LiveStack) -> Iterator[LiveStack]:
    """The stack `clustered`, in the dev stack's sandbox and with its web image."""
    with TemporaryDirectory(prefix="flotilla-clustered-") as root:
        clustered = LiveStack.create(stack.sandbox, Path(root) / "project", "clustered", "www.foobar.com")
        file = clustered.directory / "Pulumi.clustered.yaml"
        document: dict[str, Any] = yaml.safe_load(file.read_text())
        settings = document["config"]
        settings["flotilla:database"] = DATABASE
        settings["flotilla:force"] = ["managed-database"]  # this is not production
        settings["flotilla:cloud"]["network"] = "10.22.0.0/20"
        settings["flotilla:web"] |= {"count": 2, "image": stack.setting("web.image")}
        settings["flotilla:edge"]["zone"] = "foobar.com"
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        try:
            clustered.up()
            yield clustered
        finally:
            clustered.pulumi("destroy", "--yes", "--skip-preview")


@pytest.fixture
def cluster(clustered: LiveStack) -> str:
    [found] = clustered.sandbox.status()["databases"]
    return str(found["id"])


def judged(what: str, seen: Trickle, stack: LiveStack) -> None:
    """Visitors missed pages for a short while only, and no visit that one of them was told of is forgotten."""
    print(f"{what}: {len(seen.pages)} pages, {len(seen.failures)} failures")
    assert len(seen.failures) < _AWAY_SECONDS / _EVERY_SECONDS, seen.failures[-1]
    assert stack.visit().count > max(page.count for page in seen.pages)


def test_a_standby_takes_over_under_visitors(clustered: LiveStack, cluster: str) -> None:
    clustered.visit()
    with trickle(clustered) as seen:
        clustered.sandbox.control("POST", f"databases/{cluster}/fault", {"kind": "kill"})
        answered, deadline = len(seen.pages), time.monotonic() + 2 * _AWAY_SECONDS
        while len(seen.pages) < answered + 25:
            assert time.monotonic() < deadline, seen.failures[-1]
            time.sleep(_EVERY_SECONDS)
    judged("failover", seen, clustered)


def test_another_user_costs_no_visitor_a_page(clustered: LiveStack, cluster: str) -> None:
    clustered.configure("database.rotation", 2)
    with trickle(clustered) as seen:
        clustered.up()
    judged("rotation", seen, clustered)
    assert seen.failures == []
    users = clustered.sandbox.api("GET", f"databases/{cluster}/users")["users"]
    assert {user["name"] for user in users} == {"doadmin", "site2"}


def test_another_size_moves_the_data_under_visitors(clustered: LiveStack) -> None:
    clustered.configure("database.size", "db-s-2vcpu-4gb")
    with trickle(clustered) as seen:
        clustered.up()
    judged("resize", seen, clustered)


def test_a_second_up_changes_nothing(clustered: LiveStack) -> None:
    clustered.up("--refresh", "--expect-no-changes")
