"""The cloud as one ASGI application: DigitalOcean, the other services' routes, and control."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.api.call import Answer, Call, Endpoint
from sandbox.api.cloud import Cloud
from sandbox.api.control import Control, Status
from sandbox.api.digitalocean.routes import ENDPOINTS
from sandbox.api.errors import ApiError, bad_request, insufficient_storage, not_found
from sandbox.api.faults import Faults
from sandbox.api.gate import Gate, RequestLog
from sandbox.api.pagination import Page
from sandbox.api.rate_limit import RateLimit, TooManyRequestsError
from sandbox.api.scopes import VIEW_CREDENTIALS, added, every, needed
from sandbox.api.tokens import Token, Tokens, token_routes
from sandbox.disk import DiskFullError

_log = logging.getLogger(__name__)


def create_app(
    cloud: Cloud,
    extra_routes: Iterable[BaseRoute] = (),
    *,
    control_routes: Sequence[Route] = (),
    status: Status | None = None,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """The application of one sandbox.

    `extra_routes` are other services; `control_routes` go under /_sandbox behind the control token; `status` adds
    to GET /_sandbox/status; `clock` (seconds) is what the rate limit counts by.
    """
    faults, log = Faults(), RequestLog()
    tokens = Tokens(cloud.store, cloud.settings.token)
    service = _DigitalOcean(cloud, tokens, clock)
    scopes = every((endpoint.method, endpoint.path) for endpoint in ENDPOINTS)
    return Starlette(
        routes=[
            *service.routes(ENDPOINTS),
            *Control(cloud, log, faults, status).routes([*token_routes(tokens, scopes), *control_routes]),
            *extra_routes,
        ],
        middleware=[Middleware(Gate, log=log, faults=faults)],
    )


class _DigitalOcean:
    """Turns HTTP requests into calls of endpoints, and answers and refusals into HTTP."""

    def __init__(self, cloud: Cloud, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._cloud = cloud
        self._tokens = tokens
        self._clock = clock
        # By the digest of the token: each has a limit of its own.
        self._limits: dict[str, RateLimit] = {}

    def routes(self, endpoints: Iterable[Endpoint]) -> list[BaseRoute]:
        served: list[BaseRoute] = [
            Route(endpoint.path, self._serve(endpoint), methods=[endpoint.method]) for endpoint in endpoints
        ]
        # The last route takes every method and path that is left, so that the refusal can name them.
        every_method = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        return [*served, Route("/v2/{rest:path}", self._serve(None), methods=every_method)]

    def _serve(self, endpoint: Endpoint | None) -> Callable[[Request], object]:
        async def serve(request: Request) -> Response:
            request_id = str(uuid.uuid4())
            limit = self._limit(self._tokens.owner)
            try:
                token = self._tokens.of(request.headers.get("authorization"))
                limit = self._limit(token)
                limit.admit()
                answer = self._answer(endpoint, token, request, await request.body())
            except ApiError as error:
                answer = Answer(error.status, error.document(request_id))
                if isinstance(error, TooManyRequestsError):
                    return _dress(answer, request_id, limit, {"retry-after": str(error.retry_after)})
            except DiskFullError as error:
                answer = Answer(507, insufficient_storage(str(error)).document(request_id))
            except Exception:
                _log.exception("%s %s", request.method, request.url.path)
                body = {
                    "id": "server_error",
                    "message": "Unexpected server-side error",
                    "request_id": request_id,
                }
                answer = Answer(500, body)
            return _dress(answer, request_id, limit, {})

        return serve

    def _limit(self, token: Token) -> RateLimit:
        if token.digest not in self._limits:
            self._limits[token.digest] = RateLimit(self._cloud.settings.rate_limits, self._clock)
        return self._limits[token.digest]

    def _answer(self, endpoint: Endpoint | None, token: Token, request: Request, content: bytes) -> Answer:
        """Handle a request; its changes are stored all together or, when it is refused, not at all."""
        if endpoint is None:
            raise not_found(
                f"the sandbox does not have {request.method} {request.url.path}; docs/coverage.md lists what it has"
            )
        token.require(needed(endpoint.method, endpoint.path))
        if request.method not in ("GET", "DELETE"):
            self._cloud.store.disk.require()
        if unknown := sorted(set(request.query_params) - endpoint.query):
            raise bad_request(f'unknown query parameter "{unknown[0]}"')
        if "page" in endpoint.query:
            Page.of(request.query_params)  # also where a page makes no difference
        call = Call(
            cloud=self._cloud,
            path=request.path_params,
            query=dict(request.query_params),
            content=content,
            origin=f"{request.url.scheme}://{request.url.netloc}",
            location=request.url.path,
            sees_credentials=token.may(VIEW_CREDENTIALS),
        )
        if endpoint.method == "POST":
            token.require(added(endpoint.method, endpoint.path, call.json()))
        with self._cloud.store.transaction():
            return endpoint.handler(call)


def _dress(answer: Answer, request_id: str, limit: RateLimit, headers: dict[str, str]) -> Response:
    headers = {"x-request-id": request_id, **limit.headers(), **headers}
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    return JSONResponse(answer.body, answer.status, headers)
