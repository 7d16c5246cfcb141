"""A stack's datastore from the operator's desk: which bucket it is, by the stack's state, and what opens it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleet.datastore_s3 import Bucket, Place
from fleet.datastore_signature import Keys
from fleet.errors import FleetError

BUCKET_TYPE: Final = "digitalocean:index/spacesBucket:SpacesBucket"
_NAME: Final = "datastore"
_KEYS: Final = ("SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY")


def place(state: Mapping[str, Any], stack: str, environment: Mapping[str, str]) -> Place:
    """Where the stack's bucket is. Raises FleetError when the state knows none."""
    resources = (state.get("deployment") or {}).get("resources") or []
    found = [
        resource["outputs"]
        for resource in resources
        if resource.get("type") == BUCKET_TYPE
        and resource["urn"].rpartition("::")[2].startswith(_NAME)
        and not resource.get("delete")
        and resource.get("outputs")
    ]
    if not found:
        raise FleetError(
            f"stack {stack} has no datastore; put `{{}}` under datastore in its config and run `pulumi up -s {stack}`"
        )
    name, region = str(found[0]["name"]), str(found[0]["region"])
    return Place(endpoint(region, environment), name, region)


def endpoint(region: str, environment: Mapping[str, str]) -> str:
    """The URL of object storage; the environment may name another service, as it does to Pulumi's provider."""
    chosen = environment.get("SPACES_ENDPOINT_URL") or f"https://{region}.digitaloceanspaces.com"
    return chosen.rstrip("/")


def keys(environment: Mapping[str, str]) -> Keys:
    """The operator's own key, by the names that Pulumi's provider reads. Raises FleetError when there is none."""
    values = [environment.get(name, "") for name in _KEYS]
    if missing := [name for name, value in zip(_KEYS, values, strict=True) if not value]:
        raise FleetError(
            f"{' and '.join(missing)} not set; export a Spaces key, or for the local cloud run "
            '`eval "$(python -m sandbox env)"` in this shell first'
        )
    return Keys(values[0], values[1])


def bucket(state: Mapping[str, Any], stack: str, environment: Mapping[str, str]) -> Bucket:
    """The stack's bucket, opened with the operator's key."""
    return Bucket(place(state, stack, environment), keys(environment))
