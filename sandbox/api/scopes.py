"""Which scopes of a token each call needs: https://docs.digitalocean.com/reference/api/scopes/

The description of the API names those of every operation; what a body adds to them is told in its texts and by the
pages of the scopes. Where these call a scope only "associated", it is asked for all the same: a token that does with
what the sandbox asks for does with what DigitalOcean does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# By the beginning of the path, the longest that fits.
_RESOURCES = {
    "/v2/account": "account",
    "/v2/account/keys": "ssh_key",
    "/v2/actions": "actions",
    "/v2/databases": "database",
    "/v2/domains": "domain",
    "/v2/droplets": "droplet",
    "/v2/droplets/{droplet}/firewalls": "firewall",
    "/v2/firewalls": "firewall",
    "/v2/images": "image",
    "/v2/projects": "project",
    "/v2/regions": "regions",
    "/v2/sizes": "sizes",
    "/v2/snapshots": "snapshot",
    "/v2/spaces/keys": "spaces_key",
    "/v2/tags": "tag",
    "/v2/volumes": "block_storage",
    "/v2/volumes/actions": "block_storage_action",
    "/v2/volumes/{volume}/actions": "block_storage_action",
    "/v2/volumes/snapshots": "block_storage_snapshot",
    "/v2/volumes/{volume}/snapshots": "block_storage_snapshot",
    "/v2/vpcs": "vpc",
}
_VERBS = {"GET": "read", "POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
# Where the verb is another one than the method tells.
_OTHERWISE = {
    ("GET", "/v2/sizes"): ("sizes:read", "regions:read"),
    ("POST", "/v2/images/{image}/actions"): ("image:update",),
    ("POST", "/v2/droplets/actions"): ("droplet:update",),
    ("POST", "/v2/droplets/{droplet}/actions"): ("droplet:update",),
    **{
        (method, f"/v2/firewalls/{{firewall}}/{part}"): ("firewall:update",)
        for method in ("POST", "DELETE")
        for part in ("droplets", "tags", "rules")
    },
    ("POST", "/v2/databases/{cluster}/users/{user}/reset_auth"): ("database:update",),
    ("POST", "/v2/projects/default/resources"): ("project:assign_resource",),
    ("POST", "/v2/projects/{project}/resources"): ("project:assign_resource",),
    ("POST", "/v2/spaces/keys"): ("spaces_key:create_credentials",),
    ("DELETE", "/v2/snapshots/{snapshot}"): ("image:delete", "snapshot:delete"),
}
_ORDERED = {
    "tags": "tag:create",
    "ssh_keys": "ssh_key:read",
    "vpc_uuid": "vpc:read",
    "volumes": "block_storage:read",
}
_CLUSTER_ORDERED = {
    "tags": "tag:create",
    "private_network_uuid": "vpc:read",
    "project_id": "project:read",
}
# Without it the passwords of database clusters are left out of every answer.
VIEW_CREDENTIALS = "database:view_credentials"
_ACTED = {
    "password_reset": "droplet:admin",
    "rebuild": "droplet:admin",
    "resize": "droplet:create",
    "restore": "droplet:admin",
    "snapshot": "image:create",
}


def needed(method: str, path: str) -> frozenset[str]:
    """The scopes of an operation; `path` with its variables in braces. KeyError for one that is not served."""
    known = _OTHERWISE.get((method, path))
    if known is not None:
        return frozenset(known)
    beginnings = [start for start in _RESOURCES if path == start or path.startswith(f"{start}/")]
    return frozenset({f"{_RESOURCES[max(beginnings, key=len)]}:{_VERBS[method]}"})


def added(method: str, path: str, body: Any) -> frozenset[str]:
    """The scopes that the body of a request needs beyond those of its operation."""
    if method != "POST" or not isinstance(body, dict):
        return frozenset()
    if path == "/v2/droplets":
        return frozenset(scope for field, scope in _ORDERED.items() if body.get(field))
    if path == "/v2/databases":
        return frozenset(scope for field, scope in _CLUSTER_ORDERED.items() if body.get(field))
    if path.startswith("/v2/droplets/") and path.endswith("/actions"):
        extra = _ACTED.get(str(body.get("type")))
        return frozenset({extra} if extra else ())
    return frozenset()


def every(operations: Iterable[tuple[str, str]]) -> frozenset[str]:
    """All scopes that these operations can ask for."""
    asked = (needed(method, path) for method, path in operations)
    bodies = (_ORDERED.values(), _CLUSTER_ORDERED.values(), _ACTED.values())
    return frozenset({VIEW_CREDENTIALS}).union(*asked, *bodies)
