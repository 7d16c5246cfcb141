"""Visitors of a live stack: the load generator as a process in the sandbox's internet, and the site's own record."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandbox.cloudflare.ranges import IpRanges
from sandbox.edge.layout import points_of_presence
from sandbox.network.namespaces import namespace_path
from tests.live_stack import ROOT, LiveStack
from tests.load.report import Ledger, Report
from tests.load.schedule import Profile

SITE = Path(__file__).with_name("site")
_START_SECONDS = 30


@dataclass(slots=True)
class Visitors:
    """Who visits during a block; `report` and `ledger` exist when it has ended."""

    run: str
    report: Report | None = None
    ledger: Ledger | None = None

    def result(self) -> tuple[Report, Ledger]:
        assert self.report is not None, "the visitors are still there"
        assert self.ledger is not None, "the ids were not compared"
        return self.report, self.ledger


@contextmanager
def visitors(stack: LiveStack, profile: Profile) -> Iterator[Visitors]:
    """Visits on the profile's schedule while the block runs; at its end the last answers are awaited."""
    seen = Visitors(secrets.token_hex(6))
    with subprocess.Popen(
        _command(stack),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(_order(stack, profile, seen.run)) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "started\n", "the load generator did not start"
            yield seen
            printed, _ = process.communicate(timeout=profile.timeout_seconds + _START_SECONDS)
        except BaseException:
            process.kill()
            raise
    seen.report = Report.read(json.loads(printed))
    seen.ledger = Ledger.of(seen.report.acknowledged, recorded(stack, seen.run))


def lay_site(stack: LiveStack, variant: str = "good_app") -> None:
    """Make the load generator's site the stack's own; the next bake takes it."""
    target = stack.directory / "app" / "load_site"
    target.mkdir(exist_ok=True)
    for module in SITE.glob("*.py"):
        (target / module.name).write_bytes(module.read_bytes())
    stack.configure("app.callable", f"load_site.{variant}:app")


def recorded(stack: LiveStack, run: str) -> Counter[int]:
    """How often each POST of a run was recorded, asked in the database's own machine."""
    question = f"select number from load_ids where run = '{run}'"  # noqa: S608 - a run's name is random hex
    line = f'mariadb --no-defaults --batch --skip-column-names --execute "{question}" site'
    number = stack.droplet("database-1")["id"]
    return Counter(int(row) for row in asyncio.run(stack.sandbox.inside.run(number, line)).split())


def _command(stack: LiveStack) -> list[str]:
    internet = namespace_path(stack.sandbox.plan.internet)
    return ["nsenter", f"--net={internet}", sys.executable, "-m", "tests.load"]


def _order(stack: LiveStack, profile: Profile, run: str) -> dict[str, Any]:
    return {
        "run": run,
        "domain": stack.domain,
        "authority": stack.sandbox.status()["edge_ca"],
        "doors": doors(stack),
        "profile": asdict(profile),
    }


def doors(stack: LiveStack) -> list[tuple[str, str, int]]:
    """Name, address and port of each point of presence, as visitors on the internet find it."""
    published = stack.sandbox.cloudflare("GET", "ips")
    ranges = IpRanges(tuple(published["ipv4_cidrs"]), tuple(published["ipv6_cidrs"]))
    points = points_of_presence(ranges, (0, 0, 0), (0, 0, 0))
    return [(point.city, point.anycast[0], 443) for point in points]
