"""Control route of object storage that is away, for tests of those who live by it."""

from __future__ import annotations

from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.api.body import Body, parse
from sandbox.api.errors import bad_request
from sandbox.s3 import S3Server


class _Fault(Body):
    kind: Literal["stop", "heal"]


def storage_routes(server: S3Server) -> list[Route]:
    """`/_sandbox/spaces/fault`: `stop` takes object storage away, `heal` brings it back with all that was in it."""

    async def fault(request: Request) -> Response:
        try:
            kind = parse(_Fault, await request.json()).kind
        except ValueError as error:
            raise bad_request("error parsing request body") from error
        if kind == "stop":
            await server.stop()
        else:
            await server.start()
        return Response(status_code=204)

    return [Route("/spaces/fault", fault, methods=["POST"])]
