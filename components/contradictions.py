"""Mistakes that no section of a config can see by itself, and what this version cannot build."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from components import complaints, values
from components.schema import (
    AutoscalerSettings,
    CloudflareSettings,
    CloudSettings,
    EdgeSettings,
    ManagedSettings,
    PlainDnsSettings,
    Section,
    SelfHostedSettings,
    WebSettings,
)
from fleet.controller import model, schedule

PROJECT = "flotilla"
PRODUCTION = "prod"

# What `force` may hold: each lets one thing through that is refused otherwise.
MANAGED_DATABASE = "managed-database"
AUTOSCALER = "autoscaler"
REPLACE_DATABASE = "replace-database"
NEW_SEED = "new-seed"
FORCEABLE = (MANAGED_DATABASE, AUTOSCALER, REPLACE_DATABASE, NEW_SEED)

# Schedules come again within years, so whether one ever fires can be asked at any time; seconds since 1970.
_ANY_TIME = 2_000_000_000

# "standby nodes are only supported for plans with 2GB of RAM or more": https://docs.digitalocean.com/glossary/standby/
_WITHOUT_STANDBY = re.compile(r"db-.*-1gb")

MIN_PRODUCTION_MEMBERS = 2
# One leaves while the others serve.
MIN_IN_PLACE_MEMBERS = 2
# Replaced members stay up beside the new ones until the end of a rollout.
SURGE_FACTOR = 2
# What each VPC keeps for itself: network, gateway, broadcast and one for the cloud.
# https://docs.digitalocean.com/products/networking/vpc/details/limits/
RESERVED_ADDRESSES = 4


def between(
    stack: str, domain: str | None, sections: Mapping[str, Section | None], forced: frozenset[str]
) -> Iterator[str]:
    """Mistakes that no section can see by itself; sections with mistakes of their own are None."""
    edge, web, cloud = sections["edge"], sections["web"], sections["cloud"]
    if isinstance(edge, CloudflareSettings | PlainDnsSettings):
        yield from _outside_zone(domain, edge)
    if isinstance(web, WebSettings) and isinstance(cloud, CloudSettings):
        yield from _too_small(web, cloud, sections["autoscaler"])
    if isinstance(web, WebSettings):
        yield from _impossible_rollout(web)
    database = sections["database"]
    if isinstance(database, ManagedSettings):
        yield from _impossible_cluster(database)
    autoscaler = sections["autoscaler"]
    if isinstance(autoscaler, AutoscalerSettings) and isinstance(web, WebSettings):
        yield from _impossible_numbers(autoscaler, web)
    if isinstance(autoscaler, AutoscalerSettings):
        yield from _impossible_schedules(autoscaler)
    yield from _image_of_another_role(sections)
    if stack == PRODUCTION:
        yield from _unfit_for_production(sections)
    else:
        yield from _only_for_production(sections, forced)


def _outside_zone(domain: str | None, edge: EdgeSettings) -> Iterator[str]:
    zone = edge.zone
    if zone is not None and domain is not None and domain != zone and not domain.endswith(f".{zone}"):
        yield (
            f"{PROJECT}:edge.zone = {complaints.shown(zone)}: {PROJECT}:domain {domain} is not in this zone; "
            f"give the zone that holds it, such as {domain.partition('.')[2]}"
        )


def _impossible_rollout(web: WebSettings) -> Iterator[str]:
    rollout, partial = web.rollout, web.rollout.partial
    if rollout.mode == "in_place" and web.count < MIN_IN_PLACE_MEMBERS:
        yield (
            f'{PROJECT}:web.rollout.mode = "in_place": takes members away one at a time, and web.count is {web.count}, '
            "so that nobody would serve meanwhile; use surge, or give 2 members or more"
        )
    if partial is None:
        return
    key = f"{PROJECT}:web.rollout.partial"
    if partial.through >= web.count:
        yield (
            f"{key}.through = {partial.through}: leaves none of the {web.count} members on the old image; remove "
            f"{key.removeprefix(f'{PROJECT}:')}, which ends the rollout"
        )
    if partial.rest == web.image:
        yield (
            f"{key}.rest = {complaints.shown(partial.rest)}: is web.image too, so that there is nothing to roll out; "
            "give the image that the members have now, or remove web.rollout.partial"
        )


def _impossible_numbers(autoscaler: AutoscalerSettings, web: WebSettings) -> Iterator[str]:
    key = f"{PROJECT}:autoscaler"
    if autoscaler.max < web.count:
        yield (
            f"{key}.max = {autoscaler.max}: is less than the {web.count} members of web.count, and those stay whatever "
            f"happens; give {web.count} or more"
        )
        return
    for number, given in enumerate(autoscaler.schedules):
        if not web.count <= given.members <= autoscaler.max:
            yield (
                f"{key}.schedules[{number}].members = {given.members}: the fleet has {web.count} (web.count) to "
                f"{autoscaler.max} (autoscaler.max) members; give a number between"
            )


def _impossible_schedules(autoscaler: AutoscalerSettings) -> Iterator[str]:
    for number, given in enumerate(autoscaler.schedules):
        asked = model.Schedule(cron=given.cron, timezone=given.timezone, members=given.members)
        for problem in schedule.verdict([asked], _ANY_TIME).problems:
            yield f"{PROJECT}:autoscaler.schedules[{number}]: {problem}"


def _impossible_cluster(database: ManagedSettings) -> Iterator[str]:
    key = f"{PROJECT}:database"
    if database.size.startswith("s-"):
        yield (
            f"{key}.size = {complaints.shown(database.size)}: is a size of machine, and nodes of clusters have sizes of "
            f"their own; give one such as db-{database.size}"
        )
    if database.nodes > 1 and _WITHOUT_STANDBY.fullmatch(database.size):
        yield (
            f"{key}.nodes = {database.nodes}: nodes of the size {database.size} have too little memory to stand by; give "
            "a size with 2 GiB or more such as db-s-1vcpu-2gb, or 1 node"
        )
    if database.access == "tunnel" and database.gateway is None:
        yield (
            f'{key}.access = "tunnel": needs to know the gateway; set {key}.gateway to its host and host_key, or use '
            "direct"
        )
    if database.access == "direct" and database.gateway is not None:
        yield f"{key}.gateway is set: only a tunnel has a gateway; set {key}.access to tunnel, or remove it"


def _image_of_another_role(sections: Mapping[str, Section | None]) -> Iterator[str]:
    for role, key, image in _images(sections):
        named = values.ROLE_IMAGE.fullmatch(image)
        if named is not None and named["role"] != role:
            yield (
                f"{PROJECT}:{key} = {complaints.shown(image)}: is an image of the role "
                f"{named['role']}; `fleet bake {role}` makes one for {role}"
            )


def _images(sections: Mapping[str, Section | None]) -> Iterator[tuple[str, str, str]]:
    """Each image that a config names, with its role and key."""
    web, database = sections["web"], sections["database"]
    if isinstance(web, WebSettings):
        yield "web", "web.image", web.image
        if web.rollout.partial is not None:
            yield "web", "web.rollout.partial.rest", web.rollout.partial.rest
    if isinstance(database, SelfHostedSettings):
        yield "database", "database.image", database.image
    autoscaler = sections["autoscaler"]
    if isinstance(autoscaler, AutoscalerSettings):
        yield "autoscaler", "autoscaler.image", autoscaler.image


def _too_small(web: WebSettings, cloud: CloudSettings, autoscaler: Section | None) -> Iterator[str]:
    factor = SURGE_FACTOR if web.rollout.mode == "surge" else 1
    needed = web.count * factor + 1
    others = ""
    if isinstance(autoscaler, AutoscalerSettings):
        burst = max(autoscaler.max - web.count, 0)
        needed, others = needed + burst + 1, f" beside {burst} burst members"
    room = cloud.network.num_addresses - RESERVED_ADDRESSES
    if needed > room:
        yield (
            f'{PROJECT}:cloud.network = "{cloud.network}": has room for {room} machines, and a rollout of {web.count} '
            f"web members{others} needs {needed}; give a larger range, or fewer members"
        )


def _unfit_for_production(sections: Mapping[str, Section | None]) -> Iterator[str]:
    web = sections["web"]
    if isinstance(web, WebSettings) and web.count < MIN_PRODUCTION_MEMBERS:
        yield (
            f"{PROJECT}:web.count = {web.count}: production needs {MIN_PRODUCTION_MEMBERS} members or more, so that one "
            "may fail; `pulumi config set --path flotilla:web.count 2`"
        )
    for role, key, image in _images(sections):
        if not values.is_pinned(image):
            yield (
                f"{PROJECT}:{key} = {complaints.shown(image)}: production needs an image that cannot change "
                f"under it; `fleet bake {role}` makes one, and its name goes here"
            )


def _only_for_production(sections: Mapping[str, Section | None], forced: frozenset[str]) -> Iterator[str]:
    if isinstance(sections["database"], ManagedSettings) and MANAGED_DATABASE not in forced:
        yield (
            f'{PROJECT}:database.kind = "managed": costs money while nobody visits, so only production has one; use '
            f"self-hosted, or set {PROJECT}:force to [managed-database]"
        )
    if sections["autoscaler"] is not None and AUTOSCALER not in forced:
        yield (
            f"{PROJECT}:autoscaler is set: only production has one; remove it, or set {PROJECT}:force to [autoscaler]"
        )
