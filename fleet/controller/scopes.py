"""Whether the tokens may do what the controller has to do, asked at its start.

Neither cloud tells a token's rights. So each right is tried on something that cannot exist: a token with the right is
told that there is no such thing, one without is refused. Nothing is made, changed or deleted by it.
https://docs.digitalocean.com/reference/api/scopes/
https://developers.cloudflare.com/fundamentals/api/reference/permissions/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fleet.controller.config import ControllerConfig
from fleet.controller.world import World
from fleet.errors import FleetError
from fleet.web_api import ApiError, Json, WebApi

# No droplet has this number, and no private network or record these ids.
NOBODY: Final = 1
NO_VPC: Final = "00000000-0000-4000-8000-000000000000"
NO_RECORD: Final = "0" * 32
# https://developers.cloudflare.com/fundamentals/api/troubleshooting/
REFUSED: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Right:
    """What a token must be allowed, and a call that shows it."""

    scope: str
    method: str
    path: str
    body: Json | None = None


CLOUD: Final = (
    Right("droplet:read", "GET", "/v2/droplets?per_page=1"),
    # Refused for what it lacks, after the token was found good.
    Right("droplet:create", "POST", "/v2/droplets", {}),
    # What a burst member is made with, beyond its size and its image.
    Right("tag:create", "POST", "/v2/droplets", {"tags": ["nobody"]}),
    Right("ssh_key:read", "POST", "/v2/droplets", {"ssh_keys": [NOBODY]}),
    Right("vpc:read", "POST", "/v2/droplets", {"vpc_uuid": NO_VPC}),
    Right("droplet:update", "POST", f"/v2/droplets/{NOBODY}/actions", {"type": "power_cycle"}),
    Right("droplet:admin", "POST", f"/v2/droplets/{NOBODY}/actions", {"type": "rebuild", "image": NOBODY}),
    Right("droplet:delete", "DELETE", f"/v2/droplets/{NOBODY}"),
    Right("actions:read", "GET", f"/v2/actions/{NOBODY}"),
)


def edge_rights(config: ControllerConfig) -> tuple[Right, ...]:
    """Those at whoever tells visitors where the members are."""
    if config.edge.kind == "none":
        records = f"/v2/domains/{config.edge.zone}/records"
        return (
            Right("domain:read", "GET", f"{records}?per_page=1"),
            Right("domain:create", "POST", records, {}),
            Right("domain:update", "PATCH", f"{records}/{NOBODY}", {"name": "@"}),
            Right("domain:delete", "DELETE", f"{records}/{NOBODY}"),
        )
    records = f"/zones/{config.edge.zone_id}/dns_records"
    return (
        Right("DNS:Read of the zone", "GET", f"{records}?per_page=1"),
        Right("DNS:Edit of the zone", "PATCH", f"{records}/{NO_RECORD}", {"name": config.domain}),
    )


def missing(world: World) -> list[str]:
    """The rights that the tokens lack, by token. Raises FleetError when a cloud does not answer."""
    cloud = world.droplets.account.api
    rights = [("cloud token", cloud, right) for right in CLOUD]
    rights += [
        ("cloud token" if world.config.edge.kind == "none" else "edge token", world.records.api, right)
        for right in edge_rights(world.config)
    ]
    return [f"the {token} lacks {right.scope}" for token, api, right in rights if not allowed(api, right)]


def allowed(api: WebApi, right: Right) -> bool:
    """Whether a token has a right."""
    try:
        api.call(right.method, right.path, body=right.body)
    except ApiError as error:
        if error.status == 429 or error.status >= 500:
            raise
        return error.status not in REFUSED
    return True


def check(world: World) -> Iterator[str]:
    """Complaints about the tokens; one that cannot be checked is one too."""
    try:
        yield from missing(world)
    except FleetError as error:
        yield f"the tokens' rights cannot be checked now: {error}"
