"""A small client of DigitalOcean's API v2, for the operator's commands and the controller.

https://docs.digitalocean.com/reference/api/
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fleet.errors import FleetError
from fleet.web_api import ApiError, Json, WebApi, await_value

DEFAULT_URL: Final = "https://api.digitalocean.com"
PER_PAGE: Final = 200  # the API's maximum
ACTION_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class DigitalOcean:
    """One account."""

    api: WebApi

    @classmethod
    def at(cls, url: str, token: str) -> DigitalOcean:
        return cls(
            WebApi(
                "DigitalOcean's API",
                url.rstrip("/"),
                token,
                message=lambda body: body.get("message"),
                variables="DIGITALOCEAN_API_URL and DIGITALOCEAN_TOKEN",
            )
        )

    @classmethod
    def from_environment(cls) -> DigitalOcean:
        """The account that Pulumi's provider would use: DIGITALOCEAN_TOKEN, DIGITALOCEAN_API_URL."""
        token = os.environ.get("DIGITALOCEAN_TOKEN") or os.environ.get("DIGITALOCEAN_ACCESS_TOKEN")
        if not token:
            raise FleetError(
                "DIGITALOCEAN_TOKEN is not set; export a token that may write, or for the local cloud run "
                '`eval "$(python -m sandbox env)"` in this shell first'
            )
        return cls.at(os.environ.get("DIGITALOCEAN_API_URL") or DEFAULT_URL, token)

    def get(self, path: str, **query: str | int) -> Json:
        return self.api.call("GET", path, query=query)

    def check(self) -> None:
        """Raises FleetError, with the way on, when the API does not answer or does not know the token."""
        self.get("/v2/droplets", per_page=1)

    def post(self, path: str, body: Json) -> Json:
        return self.api.call("POST", path, body=body)

    def delete(self, path: str) -> None:
        """Delete an object; one that is gone already is as good."""
        try:
            self.api.call("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise

    def find(self, path: str) -> Json | None:
        """An object by its own path, or None when there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def every(self, path: str, key: str, **query: str | int) -> Iterator[Json]:
        """All objects of a list, page after page."""
        page = 1
        while True:
            answer = self.get(path, **query, page=page, per_page=PER_PAGE)
            yield from answer[key]
            if not answer.get("links", {}).get("pages", {}).get("next"):
                return
            page += 1

    async def act(self, droplet: int, kind: str, **fields: str | int | bool) -> None:
        """Start a droplet action and wait until it has completed."""
        path = f"/v2/droplets/{droplet}/actions"
        started = await asyncio.to_thread(self.post, path, {"type": kind, **fields})
        await self.await_action(int(started["action"]["id"]), f"{kind} of droplet {droplet}")

    async def await_action(self, action: int, what: str) -> None:
        status = await await_value(
            lambda: self.get(f"/v2/actions/{action}")["action"]["status"],
            lambda found: found in {"completed", "errored"},
            seconds=ACTION_SECONDS,
            what=what,
        )
        if status == "errored":
            raise FleetError(f"{what} failed at DigitalOcean (action {action} errored); try again")

    async def await_droplet(self, droplet: int, status: str, *, seconds: float) -> Json:
        """The droplet once it has the status and no action locks it."""
        found: Json = await await_value(
            lambda: self.get(f"/v2/droplets/{droplet}")["droplet"],
            lambda seen: seen["status"] == status and not seen.get("locked"),
            seconds=seconds,
            what=f"droplet {droplet} to be {status}",
        )
        return found


def public_address(droplet: Json) -> str:
    """The droplet's public IPv4 address."""
    for network in droplet["networks"]["v4"]:
        if network["type"] == "public":
            return str(network["ip_address"])
    raise FleetError(f"droplet {droplet['id']} ({droplet['name']}) has no public IPv4 address")
