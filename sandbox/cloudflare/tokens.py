"""API tokens of the Cloudflare account: its owner's, and others with some permissions on some zones.

https://developers.cloudflare.com/fundamentals/api/reference/permissions/
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.api.body import Body, parse
from sandbox.api.errors import bad_request, not_found, unprocessable
from sandbox.cloudflare.envelope import ApiError
from sandbox.store import Document, Store

_KIND = "cf_token"
_FORM = re.compile(r"[0-9A-Za-z_-]{40,80}")
_HEADER = re.compile(rf"Bearer {_FORM.pattern}")
# By the beginning of the path, the longest that fits; what is not here needs no permission.
_GROUPS = {
    "/accounts": "Account Settings",
    "/certificates": "SSL and Certificates",
    "/zones": "Zone",
    "/zones/{zone}/dns_records": "DNS",
    "/zones/{zone}/origin_tls_client_auth": "SSL and Certificates",
    "/zones/{zone}/settings": "Zone Settings",
}
PERMISSIONS = frozenset(f"{group} {level}" for group in _GROUPS.values() for level in ("Read", "Write"))


@dataclass(frozen=True, slots=True)
class Token:
    """Who calls. `permissions` None: the owner, who may everything; `zones` are ids."""

    digest: str
    permissions: frozenset[str] | None = None
    zones: frozenset[str] = frozenset()

    def require(self, method: str, path: str, zone: str | None) -> None:
        """Refuse an operation, with its path's variables in braces, that is not among the permissions."""
        if self.permissions is None:
            return
        beginnings = [start for start in _GROUPS if path == start or path.startswith(f"{start}/")]
        if not beginnings:
            return
        group = _GROUPS[max(beginnings, key=len)]
        # Who may write may read.
        enough = {f"{group} Write"} | ({f"{group} Read"} if method == "GET" else set())
        if not (enough & self.permissions) or not self.sees(zone):
            raise ApiError(403, 10000, "Authentication error")

    def sees(self, zone: str | None) -> bool:
        return self.permissions is None or zone is None or zone in self.zones


class Tokens:
    """The tokens that are let in. The store holds digests of them only."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = Token(_digest(owner))

    def of(self, request: Request) -> Token:
        """The token that a request carries. Raises: ApiError when it is none of the account's."""
        header = request.headers.get("authorization")
        if header is None:
            raise ApiError(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
        if not _HEADER.fullmatch(header):
            chain = [(6111, "Invalid format for Authorization header")]
            raise ApiError(400, 6003, "Invalid request headers", chain=chain)
        digest = _digest(header.removeprefix("Bearer "))
        # What is compared is a digest: the time it takes tells nothing of the token.
        if hmac.compare_digest(digest, self._owner.digest):
            return self._owner
        known = self._store.get(_KIND, digest)
        if known is not None:
            return Token(digest, frozenset(known["permissions"]), frozenset(known["zones"]))
        if request.url.path.endswith("/user/tokens/verify"):
            raise ApiError(401, 1000, "Invalid API Token")
        raise ApiError(403, 9109, "Invalid access token")


class _NewToken(Body):
    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"token"})

    token: str | None = None
    permissions: list[str]
    zones: list[str]


class _KnownToken(Body):
    token: str


def token_routes(store: Store) -> list[Route]:
    """`/_sandbox/edge/tokens`: POST makes a token of these permissions on these zones (by name), or takes the one
    given; DELETE revokes one. Cloudflare's dashboard does this."""

    async def add(request: Request) -> Response:
        wanted = parse(_NewToken, await _json(request))
        if unknown := sorted(set(wanted.permissions) - PERMISSIONS):
            known = ", ".join(sorted(PERMISSIONS))
            raise unprocessable(f"there is no permission {', '.join(unknown)}; known are {known}")
        token = wanted.token or secrets.token_urlsafe(30)[:40]
        if not _FORM.fullmatch(token):
            raise unprocessable("token must be 40 to 80 of 0-9, A-Z, a-z, _ and -")
        zones = {zone["name"]: zone["id"] for zone in store.all("cf_zone")}
        if missing := sorted(set(wanted.zones) - set(zones)):
            raise unprocessable(
                f"there is no zone {', '.join(missing)}; there are {', '.join(sorted(zones))}"
            )
        document: Document = {
            "permissions": sorted(wanted.permissions),
            "zones": [zones[name] for name in sorted(wanted.zones)],
        }
        store.put(_KIND, _digest(token), document)
        return JSONResponse({"token": token, **document}, 201)

    async def revoke(request: Request) -> Response:
        if not store.delete(_KIND, _digest(parse(_KnownToken, await _json(request)).token)):
            raise not_found("there is no such token")
        return Response(status_code=204)

    return [
        Route("/edge/tokens", add, methods=["POST"]),
        Route("/edge/tokens", revoke, methods=["DELETE"]),
    ]


async def _json(request: Request) -> object:
    try:
        return await request.json()
    except ValueError as error:
        raise bad_request("error parsing request body") from error


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
