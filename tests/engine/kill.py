"""`kill -9` of `pulumi up` at a chosen point: while the cloud or a machine is at work on what it was asked for."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.engine.local_cloud import LocalCloud, until
from tests.engine.site import RUN_SECONDS, Site, now

# As long as a request or a command is held, unless the engine is killed later than that: a heavily loaded host.
HOLD_SECONDS = 1.0

_CLOUDFLARE: Final = "/client/v4"
_NUMBER: Final = re.compile(r"[0-9a-f]{32}|(?<=/)\d+")
# How the canary is watched: once a second.
_ASKED: Final = "flotilla-fence"
_PROGRAM: Final = re.compile(r"flotilla-[a-z]+")


@dataclass(frozen=True)
class AtRequest:
    """While the request of this number of its kind is under way: the cloud has it, and its answer finds nobody any
    more. `path` is a regular expression that is searched for."""

    method: str
    path: str
    service: str = "digitalocean"
    number: int = 1

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (f" number {self.number}" if self.number > 1 else "")

    def arm(self, cloud: LocalCloud) -> None:
        cloud.fail(
            service=self.service,
            method=self.method,
            path=self.path,
            latency_seconds=HOLD_SECONDS,
            times=self.number,
        )

    def reached(self, cloud: LocalCloud, began: float) -> bool:
        alike = [
            found
            for found in cloud.log(began)
            if found.method == self.method and re.search(self.path, found.path)
        ]
        return len(alike) >= self.number


@dataclass(frozen=True)
class AtCommand:
    """While a machine of a role runs one of its programs, for this number of times in all machines together."""

    role: str
    program: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.role} runs {self.program}" + (f" number {self.number}" if self.number > 1 else "")

    def arm(self, cloud: LocalCloud) -> None:
        cloud.script(
            name=f"^{self.role}-", program=self.program, delay_seconds=HOLD_SECONDS, times=self.number
        )

    def reached(self, cloud: LocalCloud, began: float) -> bool:
        alike = [
            ran
            for ran in cloud.commands(began)
            if ran.name.startswith(f"{self.role}-") and self.program in ran.command
        ]
        return len(alike) >= self.number


Point = AtRequest | AtCommand


def killed_up(site: Site, point: Point) -> None:
    """`up`, killed at a point; returns when the clouds have done with what was under way."""
    cloud, began = site.cloud, now()
    point.arm(cloud)
    with site.started("up", "--skip-preview") as (engine, _):

        def reached() -> bool:
            ended = engine.poll()
            assert ended is None, f"never reached {point}:\n{engine.communicate()[0]}"
            return point.reached(cloud, began)

        until(reached, str(point), seconds=RUN_SECONDS)
        engine.send_signal(signal.SIGKILL)
        engine.wait(30)
    cloud.calm()
    until(lambda: cloud.quiet(began), "the cloud to finish what it was asked for")


def points_of(cloud: LocalCloud, began: float) -> list[Point]:
    """Every point of what has been done since then, in the order in which it was reached: each change of a cloud and
    each command on a machine. What only asks stands for itself once: how often it is done is another number each time.
    """
    reached = sorted([*_requests(cloud, began), *_commands(cloud, began)], key=lambda found: found[0])
    seen: Counter[Point] = Counter()
    points: list[Point] = []
    for _, point in reached:
        seen[point] += 1
        if seen[point] == 1 or not _only_asks(point):
            points.append(replace(point, number=seen[point]))
    return points


def spread(points: Sequence[Point], count: int) -> list[Point]:
    """So many of them, as far from each other as they can be, the first and the last among them."""
    assert len(points) >= count, f"only {len(points)} points: {', '.join(map(str, points))}"
    return [points[round(place * (len(points) - 1) / (count - 1))] for place in range(count)]


def _only_asks(point: Point) -> bool:
    return point.method == "GET" if isinstance(point, AtRequest) else point.program == _ASKED


def _requests(cloud: LocalCloud, began: float) -> Iterator[tuple[float, Point]]:
    for request in cloud.log(began):
        service = "cloudflare" if request.path.startswith(_CLOUDFLARE) else "digitalocean"
        pattern = _NUMBER.sub(r"\\w+", re.escape(request.path)) + "$"
        yield request.at, AtRequest(request.method, pattern, service)


def _commands(cloud: LocalCloud, began: float) -> Iterator[tuple[float, Point]]:
    for ran in cloud.commands(began):
        programs = _PROGRAM.findall(ran.command)
        if programs:
            yield ran.at, AtCommand(ran.name.partition("-")[0], programs[-1])
