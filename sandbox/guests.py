"""Control routes of simulated guests: what they answer, and what they were told to run."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.api.body import parse
from sandbox.api.errors import bad_request
from sandbox.machines.guest_script import GuestScript, GuestScripts


def guest_routes(scripts: GuestScripts) -> list[Route]:
    """`/_sandbox/guests`: POST adds a script, DELETE removes all of them, GET shows them and the last commands."""

    async def show(request: Request) -> Response:
        return JSONResponse(scripts.listing())

    async def add(request: Request) -> Response:
        try:
            body = await request.json()
        except ValueError as error:
            raise bad_request("error parsing request body") from error
        return JSONResponse({"id": scripts.add(parse(GuestScript, body))}, 201)

    async def clear(request: Request) -> Response:
        scripts.clear()
        return Response(status_code=204)

    return [
        Route("/guests", show, methods=["GET"]),
        Route("/guests", add, methods=["POST"]),
        Route("/guests", clear, methods=["DELETE"]),
    ]
