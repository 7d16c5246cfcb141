"""Control routes of the ranges that the sandbox's Cloudflare publishes, for tests of those who follow them."""

from __future__ import annotations

from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.api.body import Body, parse
from sandbox.api.errors import bad_request
from sandbox.cloudflare.ranges import ip_ranges, reset_ip_ranges, set_ip_ranges
from sandbox.store import Store


class _Ranges(Body):
    accepts_null: ClassVar[frozenset[str] | None] = frozenset()

    ipv4_cidrs: list[str]
    ipv6_cidrs: list[str]


def range_routes(store: Store) -> list[Route]:
    """`/_sandbox/edge/ranges`: GET what is published, PUT another list, DELETE to publish the real one again.

    Any list of networks is taken, an empty one too: what a client makes of it is to be tested. The edge moves into
    the new ranges at the sandbox's next start.
    """

    async def show(request: Request) -> Response:
        return JSONResponse(ip_ranges(store).document())

    async def put(request: Request) -> Response:
        try:
            ranges = parse(_Ranges, await request.json())
            set_ip_ranges(store, ranges.ipv4_cidrs, ranges.ipv6_cidrs)
        except ValueError as error:
            raise bad_request(f"the ranges are not taken: {error}") from error
        return await show(request)

    async def reset(request: Request) -> Response:
        reset_ip_ranges(store)
        return await show(request)

    return [
        Route("/edge/ranges", show, methods=["GET"]),
        Route("/edge/ranges", put, methods=["PUT"]),
        Route("/edge/ranges", reset, methods=["DELETE"]),
    ]
