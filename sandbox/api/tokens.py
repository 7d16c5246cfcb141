"""Tokens of the account: its owner's, which may everything, and others that may what their scopes say."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.api.body import Body, parse
from sandbox.api.errors import ApiError, bad_request, not_found, unauthorized, unprocessable
from sandbox.store import Store

_KIND = "token"
_FORM = r"dop_v1_[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class Token:
    """Who calls; `scopes` None: the owner, who may everything."""

    digest: str
    scopes: frozenset[str] | None

    def may(self, scope: str) -> bool:
        return self.scopes is None or scope in self.scopes

    def require(self, needed: frozenset[str]) -> None:
        """ApiError 403 when a scope is missing; DigitalOcean does not say which."""
        if self.scopes is not None and not needed <= self.scopes:
            raise ApiError(403, "forbidden", "You are not authorized to perform this operation")


class Tokens:
    """The tokens that are let in. The store holds digests of them only."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = Token(_digest(owner), None)

    @property
    def owner(self) -> Token:
        return self._owner

    def of(self, header: str | None) -> Token:
        """The token that an Authorization header bears; ApiError 401 when it is none of ours."""
        digest = _digest((header or "").removeprefix("Bearer "))
        # What is compared is a digest: the time it takes tells nothing of the token.
        if hmac.compare_digest(digest, self._owner.digest):
            return self._owner
        known = self._store.get(_KIND, digest)
        if known is None:
            raise unauthorized()
        return Token(digest, frozenset(known["scopes"]))

    def add(self, token: str, scopes: frozenset[str]) -> None:
        self._store.put(_KIND, _digest(token), {"scopes": sorted(scopes)})

    def revoke(self, token: str) -> bool:
        """Let it in no more; false when it was not known."""
        return self._store.delete(_KIND, _digest(token))


class _NewToken(Body):
    token: str | None = Field(default=None, pattern=f"^{_FORM}$")
    scopes: list[str]


class _KnownToken(Body):
    token: str


def token_routes(tokens: Tokens, known: frozenset[str]) -> list[Route]:
    """`/_sandbox/tokens`: POST makes a token of these scopes, or takes the one given; DELETE revokes one.

    The cloud's control panel does this; its API cannot.
    """

    async def add(request: Request) -> Response:
        wanted = parse(_NewToken, await _json(request))
        if unknown := sorted(set(wanted.scopes) - known):
            raise unprocessable(
                f"there is no scope {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        token = wanted.token or f"dop_v1_{secrets.token_hex(32)}"
        tokens.add(token, frozenset(wanted.scopes))
        return JSONResponse({"token": token, "scopes": sorted(wanted.scopes)}, 201)

    async def revoke(request: Request) -> Response:
        if not tokens.revoke(parse(_KnownToken, await _json(request)).token):
            raise not_found("there is no such token")
        return Response(status_code=204)

    return [
        Route("/tokens", add, methods=["POST"]),
        Route("/tokens", revoke, methods=["DELETE"]),
    ]


async def _json(request: Request) -> object:
    try:
        return await request.json()
    except ValueError as error:
        raise bad_request("error parsing request body") from error


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
