"""A small client of Cloudflare's API v4: https://developers.cloudflare.com/api/"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fleet.errors import FleetError
from fleet.web_api import ApiError, Json, WebApi

DEFAULT_URL: Final = "https://api.cloudflare.com/client/v4"
PER_PAGE: Final = 50  # the most that zones and certificates allow
# https://developers.cloudflare.com/fundamentals/api/reference/permissions/
PERMISSIONS: Final = "DNS:Edit, Zone Settings:Edit and SSL and Certificates:Edit"


@dataclass(frozen=True, slots=True)
class Cloudflare:
    """One account."""

    api: WebApi

    @classmethod
    def at(cls, url: str, token: str) -> Cloudflare:
        return cls(
            WebApi(
                "Cloudflare's API",
                url.rstrip("/"),
                token,
                message=_message,
                variables="CLOUDFLARE_BASE_URL and CLOUDFLARE_API_TOKEN",
            )
        )

    @classmethod
    def from_environment(cls) -> Cloudflare:
        """The account that Pulumi's provider would use: CLOUDFLARE_API_TOKEN, CLOUDFLARE_BASE_URL."""
        token = os.environ.get("CLOUDFLARE_API_TOKEN")
        if not token:
            raise FleetError(
                f"CLOUDFLARE_API_TOKEN is not set; export a token with the permissions {PERMISSIONS}"
            )
        return cls.at(os.environ.get("CLOUDFLARE_BASE_URL") or DEFAULT_URL, token)

    def zone_id(self, name: str) -> str | None:
        """The id of the account's zone of this name, None when there is none."""
        return next((str(zone["id"]) for zone in self.every("/zones", name=name)), None)

    def delete(self, path: str) -> None:
        """Delete an object; one that is gone already is as good."""
        try:
            self.api.call("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise

    def every(self, path: str, **query: str | int) -> Iterator[Json]:
        """All objects of a list; the pages end with an empty one, or where `result_info` says."""
        page = 1
        while True:
            answer = self.api.call("GET", path, query={**query, "page": page, "per_page": PER_PAGE})
            yield from answer["result"]
            if page >= answer.get("result_info", {}).get("total_pages", 1):
                return
            page += 1


def _message(body: Json) -> str | None:
    errors = body.get("errors") or []
    return "; ".join(f"{error.get('message')} ({error.get('code')})" for error in errors) or None
