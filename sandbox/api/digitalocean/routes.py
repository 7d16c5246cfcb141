"""Every endpoint this cloud has, in the order they are matched."""

from __future__ import annotations

from sandbox.api.call import Endpoint
from sandbox.api.digitalocean import (
    account,
    actions,
    database_config,
    database_members,
    databases,
    domains,
    droplet_actions,
    droplets,
    firewalls,
    images,
    projects,
    records,
    snapshots,
    spaces_keys,
    ssh_keys,
    tags,
    volume_actions,
    volumes,
    vpcs,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *account.ENDPOINTS,
    *actions.ENDPOINTS,
    *ssh_keys.ENDPOINTS,
    *images.ENDPOINTS,
    *tags.ENDPOINTS,
    *vpcs.ENDPOINTS,
    # Before the droplets: /v2/droplets/actions is no droplet.
    *droplet_actions.ENDPOINTS,
    *droplets.ENDPOINTS,
    *firewalls.ENDPOINTS,
    # /v2/volumes/snapshots and /v2/volumes/actions are no volumes either.
    *snapshots.ENDPOINTS,
    *volume_actions.ENDPOINTS,
    *volumes.ENDPOINTS,
    *domains.ENDPOINTS,
    *records.ENDPOINTS,
    *databases.ENDPOINTS,
    *database_config.ENDPOINTS,
    *database_members.ENDPOINTS,
    *projects.ENDPOINTS,
    *spaces_keys.ENDPOINTS,
)
