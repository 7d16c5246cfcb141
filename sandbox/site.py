"""Control route of the whole sandbox: how a site is reached from the host."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.api.errors import not_found
from sandbox.world import World


def site_routes(world: World) -> list[Route]:
    """`/_sandbox/way/{host}`: the address and ports at which this name is served."""

    async def way(request: Request) -> Response:
        host = request.path_params["host"]
        found = world.way(host)
        if found is None:
            raise not_found(f"no record of this cloud names {host!r}")
        return JSONResponse(found)

    return [Route("/way/{host}", way, methods=["GET"])]
