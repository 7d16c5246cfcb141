"""Everything outside the controller, behind one value: what it was told, the clouds, the members, its own disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleet.controller import clouds
from fleet.controller.clouds import Droplets, Records
from fleet.controller.config import ControllerConfig, ControllerSecrets
from fleet.controller.memory import read_orders
from fleet.controller.model import Clock, Orders, Policy, Schedule, Seen
from fleet.controller.probe import NetworkProber, Prober

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def clock() -> Clock:
    """Now, with a monotonic clock that goes on while the machine sleeps."""
    return Clock(
        wall=time.time(),
        monotonic=time.clock_gettime(time.CLOCK_BOOTTIME),
        boot=BOOT_ID.read_text(encoding="ascii").strip(),
    )


def request_seed() -> str:
    return os.urandom(16).hex()


def private_address(member: Seen) -> str | None:
    """Where the node reaches a member: over the private network."""
    return member.private_address


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One config's worth of it; another config makes another."""

    config: ControllerConfig
    secrets: ControllerSecrets = field(repr=False)
    droplets: Droplets
    records: Records
    orders: Callable[[], Orders | None]
    """What operators have said, read anew each time; None when that is not known."""
    prober: Prober
    reach: Callable[[Seen], str | None] = private_address
    """The address for SSH."""
    clock: Callable[[], Clock] = clock
    seed: Callable[[], str] = request_seed

    @classmethod
    def of(cls, config: ControllerConfig, secrets: ControllerSecrets, state: Path) -> World:
        """The real one; `state` is the controller's directory."""
        return cls(
            config=config,
            secrets=secrets,
            droplets=clouds.droplets(secrets),
            records=clouds.records(config, secrets),
            orders=lambda: read_orders(state),
            prober=NetworkProber(),
        )


def policy(config: ControllerConfig) -> Policy:
    """What decisions know of a config."""
    return Policy(
        stack=config.stack,
        domain=config.domain,
        count=config.count,
        maximum=config.max,
        image=config.burst.image,
        schedules=tuple(
            Schedule(cron=each.cron, timezone=each.timezone, members=each.members)
            for each in config.schedules
        ),
        target_cpu=config.target_cpu,
        cooldown_seconds=config.cooldown_seconds,
    )


def owners(members: tuple[Seen, ...] | list[Seen]) -> dict[str, str]:
    """Slots by public address."""
    return {address: member.slot for member in members if member.slot for address in member.addresses}
