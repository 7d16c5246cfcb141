"""A stack of another shape beside the dev stack: PostgreSQL, no edge, and a database that no bake prepared."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dns.message
import dns.query
import dns.rdatatype
import pytest

from sandbox.network.vantage import Answer, Vantage
from tests.live_stack import LiveStack, Page, address_of

pytestmark = [pytest.mark.machines, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def plain(stack: LiveStack) -> Iterator[LiveStack]:
    """The stack `plain`, in the dev stack's sandbox and with its web image."""
    with TemporaryDirectory(prefix="flotilla-plain-") as root:
        plain = LiveStack.create(stack.sandbox, Path(root) / "project", "plain", "www.example.org")
        plain.configure("cloud.network", "10.21.0.0/20")
        plain.configure("web.count", 2)
        plain.configure("web.image", stack.setting("web.image"))
        plain.configure("database.image", "debian-13-x64")
        plain.configure("database.engine", "postgresql")
        plain.configure("edge.kind", "none")
        plain.configure("edge.zone", "example.org")
        plain.configure("edge.propagation_seconds", 1)
        try:
            plain.up()
            yield plain
        finally:
            plain.pulumi("destroy", "--yes", "--skip-preview")


def members(stack: LiveStack) -> set[str]:
    return set(stack.outputs()["members"].values())


def test_the_clouds_dns_names_the_members(plain: LiveStack) -> None:
    host, _, port = plain.sandbox.status()["dns"].rpartition(":")
    query = dns.message.make_query(plain.domain, dns.rdatatype.A)
    [answer] = dns.query.udp(query, host, port=int(port), timeout=5).answer
    assert answer.ttl == 60
    assert {record.address for record in answer} == members(plain)
    [same] = dns.query.tcp(query, host, port=int(port), timeout=5).answer
    assert set(same) == set(answer)


def test_machines_resolve_it_with_the_clouds_resolver(plain: LiveStack) -> None:
    number = plain.droplet("database-1")["id"]
    said = asyncio.run(plain.sandbox.inside.run(number, f"getent ahostsv4 {plain.domain}"))
    assert {line.split()[0] for line in said.splitlines()} == members(plain)


def test_the_line_that_visit_prints_answers_without_an_edge(plain: LiveStack) -> None:
    first = plain.sandbox.command("visit", f"https://{plain.domain}")
    line = shlex.split(first.strip().splitlines()[-1])
    second = Page.read(plain.run(*line))
    assert second.count == Page.read(first).count + 1


def test_anyone_may_come_to_the_site_and_to_nothing_else(plain: LiveStack) -> None:
    plan = plain.sandbox.plan
    for place in (Vantage(plan.internet), Vantage(plan.edge), Vantage()):
        for address in members(plain):
            assert place.probe(address, 443) is Answer.OPEN
            assert place.probe(address, 80, seconds=0.5) is Answer.SILENT
    database = address_of(plain.droplet("database-1"), "public")
    assert Vantage(plan.internet).probe(database, 5432, seconds=0.5) is Answer.SILENT


def test_it_runs_on_postgresql_over_tls(plain: LiveStack) -> None:
    droplet = plain.droplet("database-1")
    assert plain.outputs()["database"] == {
        "engine": "postgresql",
        "host": address_of(droplet, "private"),
        "port": 5432,
    }
    question = "select count(*) > 0 and bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid)"
    question += " where usename = 'site'"
    line = f'runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --command "{question}"'
    assert asyncio.run(plain.sandbox.inside.run(droplet["id"], line)) == "t"


def test_a_second_up_changes_nothing(plain: LiveStack) -> None:
    plain.up("--refresh", "--expect-no-changes")


def test_stacks_of_one_network_of_machines_do_not_meet(stack: LiveStack, plain: LiveStack) -> None:
    own = Vantage(plain.sandbox.plan.droplet(plain.droplet("web-1")["id"]))
    theirs = stack.droplet("database-1")
    for kind in ("public", "private"):
        for port in (22, 3306):
            assert own.probe(address_of(theirs, kind), port, seconds=0.5) is Answer.SILENT
    assert stack.visit().member == "web-1"
