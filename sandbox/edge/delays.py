"""How late the points of presence see a change, set by tests of what a late one costs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.api.body import Body, parse
from sandbox.api.errors import bad_request
from sandbox.edge.edge import Edge


class Delays(Body):
    """Seconds for each point of presence; Cloudflare's own promise is 300 at most."""

    seconds: list[Annotated[float, Field(ge=0, le=300)]] = Field(min_length=3, max_length=3)


def delay_routes(edge: Edge) -> list[Route]:
    """`PUT /_sandbox/edge/delays`: what counts for changes from now on."""

    async def put(request: Request) -> Response:
        try:
            body = await request.json()
        except ValueError as error:
            raise bad_request("error parsing request body") from error
        edge.delay(parse(Delays, body).seconds)
        return Response(status_code=204)

    return [Route("/edge/delays", put, methods=["PUT"])]
