"""A controller that dies: before or after the n-th thing that it does to the world or to its disk.

What it only reads is no point of its own: to die there is to die after what it did before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from fleet import ssh
from fleet.cloudflare import Cloudflare
from fleet.controller import journal, memory
from fleet.controller.clouds import CloudflareRecords, Droplets
from fleet.controller.world import World
from fleet.digitalocean import DigitalOcean
from fleet.web_api import Json, WebApi


class Died(BaseException):
    """The process is gone; nobody catches that."""


@dataclass
class Fate:
    """Dies at a point; whatever else runs then does nothing more."""

    at: int | None = None
    passed: int = 0

    @property
    def dead(self) -> bool:
        return self.at is not None and self.passed >= self.at

    def point(self) -> None:
        if self.dead:
            raise Died
        self.passed += 1
        if self.dead:
            raise Died

    def looks(self) -> None:
        """At what it does not change."""
        if self.dead:
            raise Died


def mortal_world(world: World, fate: Fate) -> World:
    """The same with clients that die."""

    class Mortal(WebApi):
        def call(self, method: str, path: str, **given: Any) -> Json:
            if method == "GET":
                fate.looks()
                return super().call(method, path, **given)
            fate.point()
            answer = super().call(method, path, **given)
            fate.point()
            return answer

    def mortal(api: WebApi) -> WebApi:
        return Mortal(api.name, api.url, api.token, api.message, api.variables, again=False, pool=api.pool)

    cloud = DigitalOcean(mortal(world.droplets.account.api))
    edge = Cloudflare(mortal(world.records.api))
    return World(
        config=world.config,
        secrets=world.secrets,
        droplets=Droplets(cloud),
        records=CloudflareRecords(edge, world.config),
        orders=world.orders,
        prober=world.prober,
        reach=world.reach,
        clock=world.clock,
    )


@contextmanager
def mortal_disk_and_ssh(fate: Fate) -> Iterator[None]:
    """Each write, and each command on a machine, is two points."""
    with pytest.MonkeyPatch.context() as patched:
        for module, name in ((memory, "save"), (journal, "append")):
            patched.setattr(module, name, _around(fate, getattr(module, name)))
        run = ssh.run

        async def mortal_run(*given: Any, **named: Any) -> ssh.Result:
            fate.point()
            done = await run(*given, **named)
            fate.point()
            return done

        patched.setattr(ssh, "run", mortal_run)
        yield


def _around(fate: Fate, work: Callable[..., Any]) -> Callable[..., Any]:
    def mortal(*given: Any, **named: Any) -> Any:
        fate.point()
        done = work(*given, **named)
        fate.point()
        return done

    return mortal
