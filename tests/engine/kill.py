"""`kill -9` of `pulumi up` at a chosen point: while the cloud or a machine is at work on what it was asked for."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from tests.engine.local_cloud import LocalCloud, until
from tests.engine.site import Site, now

# As long as a request or a command is held, unless the engine is killed later than that: a heavily loaded host.
HOLD_SECONDS = 1.0


@dataclass(frozen=True)
class AtRequest:
    """While a request is under way: the cloud has it, and its answer finds nobody any more."""

    method: str
    path: str
    service: str = "digitalocean"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def arm(self, cloud: LocalCloud) -> None:
        cloud.fail(
            service=self.service, method=self.method, path=self.path, latency_seconds=HOLD_SECONDS, times=1
        )

    def reached(self, cloud: LocalCloud, began: float) -> bool:
        return any(found.method == self.method and self.path in found.path for found in cloud.log(began))


@dataclass(frozen=True)
class AtCommand:
    """While a machine of a role runs one of its programs."""

    role: str
    program: str

    def __str__(self) -> str:
        return f"{self.role} runs {self.program}"

    def arm(self, cloud: LocalCloud) -> None:
        cloud.script(name=f"^{self.role}-", program=self.program, delay_seconds=HOLD_SECONDS, times=1)

    def reached(self, cloud: LocalCloud, began: float) -> bool:
        return any(
            ran.name.startswith(f"{self.role}-") and self.program in ran.command
            for ran in cloud.commands(began)
        )


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

        until(reached, str(point))
        engine.send_signal(signal.SIGKILL)
        engine.wait(30)
    cloud.calm()
    until(lambda: cloud.quiet(began), "the cloud to finish what it was asked for")
