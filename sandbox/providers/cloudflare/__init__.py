"""The provider `cloudflare`, as the plugin of the SDK 6.23.1 plans and acts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from sandbox.providers.cloudflare import dns, lookups, origins, zones
from sandbox.providers.http import Api, RetryPolicy
from sandbox.providers.package import Package
from sandbox.providers.schema import by_name, given
from sandbox.providers.session import Session

_PUBLIC_ENDPOINT = "https://api.cloudflare.com/client/v4"
# The plugin retries ten times, waiting 2, 4, 8, 16, 30, 30 ... s; the waits are shortened, for the cloud is here.
_RETRY = RetryPolicy(retries=10, first_wait=0.25, longest_wait=4.0, statuses=frozenset({408, 409}))


async def _connect(session: Session, configured: Mapping[str, Any], http: aiohttp.ClientSession) -> Api:
    return Api(
        http=http,
        session=session,
        base=configured.get("baseUrl")
        or await session.environment("CLOUDFLARE_BASE_URL")
        or _PUBLIC_ENDPOINT,
        token=configured.get("apiToken") or await session.environment("CLOUDFLARE_API_TOKEN") or "",
        retry=_RETRY,
        agent="terraform-provider-cloudflare/pulumi",
    )


PACKAGE = Package(
    name="cloudflare",
    version="6.23.1",
    connect=_connect,
    configuration=by_name(
        [
            given("apiToken"),
            given("apiKey"),
            given("apiUserServiceKey"),
            given("baseUrl"),
            given("email"),
            given("userAgentOperatorSuffix"),
        ]
    ),
    resources={resource.token: resource for family in (dns, origins, zones) for resource in family.RESOURCES},
    functions={function.token: function for function in lookups.FUNCTIONS},
)
