"""The provider `digitalocean`, as the plugin of the SDK 4.84.1 plans and acts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from sandbox.providers.digitalocean import (
    database_members,
    databases,
    dns,
    droplets,
    lookups,
    network,
    projects,
    snapshots,
    spaces,
    volumes,
)
from sandbox.providers.http import Api, RetryPolicy
from sandbox.providers.package import Package
from sandbox.providers.schema import INTEGER, NUMBER, by_name, given
from sandbox.providers.session import Session

_PUBLIC_ENDPOINT = "https://api.digitalocean.com"
# The plugin retries four times; its waits of 1, 2, 4 and 8 s are shortened, for the cloud is on this machine.
_RETRIES = 4
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 30.0


async def _connect(session: Session, configured: Mapping[str, Any], http: aiohttp.ClientSession) -> Api:
    return Api(
        http=http,
        session=session,
        base=configured.get("apiEndpoint")
        or await session.environment("DIGITALOCEAN_API_URL")
        or _PUBLIC_ENDPOINT,
        token=configured.get("token")
        or await session.environment("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")
        or "",
        retry=RetryPolicy(
            retries=int(configured.get("httpRetryMax", _RETRIES)),
            first_wait=float(configured.get("httpRetryWaitMin", _FIRST_WAIT)),
            longest_wait=float(configured.get("httpRetryWaitMax", _LONGEST_WAIT)),
        ),
        agent="Terraform/pulumi",
        per_second=float(configured.get("requestsPerSecond", 0)),
    )


PACKAGE = Package(
    name="digitalocean",
    version="4.84.1",
    connect=_connect,
    configuration=by_name(
        [
            given("apiEndpoint"),
            given("token"),
            given("spacesEndpoint"),
            given("spacesAccessId"),
            given("spacesSecretKey"),
            given("requestsPerSecond", NUMBER),
            given("httpRetryMax", INTEGER),
            given("httpRetryWaitMin", NUMBER),
            given("httpRetryWaitMax", NUMBER),
        ]
    ),
    resources={
        resource.token: resource
        for family in (
            network,
            droplets,
            snapshots,
            dns,
            volumes,
            projects,
            spaces,
            databases,
            database_members,
        )
        for resource in family.RESOURCES
    },
    functions={
        function.token: function for family in (lookups, database_members) for function in family.FUNCTIONS
    },
)
