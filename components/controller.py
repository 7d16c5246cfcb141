"""What the controller on the autoscaler node is told; pure but for what is only known when the stack is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components import naming
from components.commands import Parcel
from components.model import DrainTimes, Role
from components.preflight import BootImage
from components.schema import ScheduleSettings
from components.site import Site
from components.tokens import Tokens
from components.web_payload import WebPayload
from fleet import commands
from fleet.controller import config


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the controller is to keep: members between `count` and `max`, made as those in the slots are."""

    domain: str
    region: str
    count: int
    max: int
    size: str
    image: BootImage
    payload: WebPayload
    ipv6: bool
    drain: DrainTimes
    edge: config.Edge
    schedules: tuple[ScheduleSettings, ...]
    target_cpu: int | None
    cooldown_seconds: int


def documents(
    site: Site, fleet: Fleet, tokens: Tokens, *, vpc: pulumi.Output[str], login_key: pulumi.Output[str]
) -> pulumi.Output[tuple[str, str]]:
    """The config and the secrets, each as JSON; secret together, as the second is."""
    images = list(fleet.payload.parcels)
    known = pulumi.Output.all(vpc, login_key, *(fleet.payload.parcels[image].content for image in images))

    def made(values: Sequence[str]) -> tuple[str, str]:
        network, key, *contents = values
        deliveries = {
            image.id: _delivery(fleet.payload.parcels[image], content)
            for image, content in zip(images, contents, strict=True)
        }
        return (
            _config(site, fleet, vpc=network, login_key=key).to_json(),
            _secrets(site, fleet, tokens, deliveries).to_json(),
        )

    return known.apply(made)


def _config(site: Site, fleet: Fleet, *, vpc: str, login_key: str) -> config.ControllerConfig:
    times = fleet.drain
    slots = [naming.slot(Role.WEB, number) for number in range(1, fleet.count + 1)]
    return config.ControllerConfig(
        stack=site.stack,
        domain=fleet.domain,
        region=fleet.region,
        vpc=vpc,
        network=site.places.network,
        count=fleet.count,
        max=fleet.max,
        cooldown_seconds=fleet.cooldown_seconds,
        drain=config.Drain(propagation=times.propagation, quiet=times.quiet, cap=times.cap),
        edge=fleet.edge,
        burst=config.Burst(
            image=fleet.image.id,
            size=fleet.size,
            ssh_keys=(login_key,),
            tags=(
                naming.stack_tag(site.stack),
                naming.role_tag(site.stack, Role.WEB),
                naming.burst_tag(site.stack),
            ),
            user_data=fleet.payload.user_data(config.BLANK_SLOT, config.BLANK_KEY, fleet.image),
            ipv6=fleet.ipv6,
        ),
        host_keys={slot: site.identity.host_key(slot).public_openssh for slot in slots},
        schedules=tuple(
            config.Schedule(cron=given.cron, members=given.members, timezone=given.timezone)
            for given in fleet.schedules
        ),
        target_cpu=fleet.target_cpu,
    )


def _secrets(
    site: Site, fleet: Fleet, tokens: Tokens, deliveries: Mapping[str, config.Delivery]
) -> config.ControllerSecrets:
    bursts = [naming.burst_slot(number) for number in range(1, fleet.max + 1)]
    return config.ControllerSecrets(
        cloud_token=tokens.cloud,
        edge_token=tokens.edge,
        deploy_key=site.identity.deploy_key().private_openssh,
        deliveries=deliveries,
        burst_keys={slot: config.BurstKey.of(site.identity.host_key(slot)) for slot in bursts},
    )


def _delivery(parcel: Parcel, content: str) -> config.Delivery:
    whole = parcel.command == commands.INSTALL_AND_RECEIVE
    return config.Delivery(laying="install" if whole else "receive", content=content)
