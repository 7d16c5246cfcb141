"""The control API of a sandbox, for its own command line and for tests; never part of the cloud."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from sandbox.api.body import Body, parse
from sandbox.api.cloud import Cloud
from sandbox.api.errors import ApiError, bad_request, insufficient_storage, not_found, unauthorized
from sandbox.api.faults import Fault, Faults
from sandbox.api.gate import RequestLog
from sandbox.disk import DiskFullError
from sandbox.store import Document

Handler = Callable[[Request], Awaitable[Response]]
Status = Callable[[], Document]


class MachineFault(Body):
    kind: Literal["kill", "isolate", "heal"]


def guarded(token: str, handler: Handler) -> Handler:
    """A control handler that asks for the control token and turns ApiErrors into answers."""

    async def guard(request: Request) -> Response:
        try:
            check_token(request.headers.get("authorization"), token)
            return await handler(request)
        except ApiError as error:
            return JSONResponse({"id": error.identifier, "message": error.message}, error.status)
        except DiskFullError as error:
            refusal = insufficient_storage(str(error))
            return JSONResponse({"id": refusal.identifier, "message": refusal.message}, refusal.status)

    return guard


def check_token(header: str | None, token: str) -> None:
    """ApiError 401 unless the header bears the token; compared in constant time."""
    if not hmac.compare_digest((header or "").encode(), f"Bearer {token}".encode()):
        raise unauthorized()


class Control:
    """Handlers of /_sandbox."""

    def __init__(self, cloud: Cloud, log: RequestLog, faults: Faults, status: Status | None) -> None:
        self._cloud = cloud
        self._log = log
        self._faults = faults
        self._status = status

    def routes(self, extra: Sequence[Route]) -> list[BaseRoute]:
        own = [
            Route("/status", self._show_status, methods=["GET"]),
            Route("/faults", self._list_faults, methods=["GET"]),
            Route("/faults", self._add_fault, methods=["POST"]),
            Route("/faults", self._clear_faults, methods=["DELETE"]),
            Route("/requests", self._list_requests, methods=["GET"]),
            Route("/console/{machine}", self._console, methods=["GET"]),
            Route("/machines/{machine}/fault", self._machine_fault, methods=["POST"]),
            Route("/databases/{database}/fault", self._database_fault, methods=["POST"]),
        ]
        token = self._cloud.settings.control_token
        routes = [
            Route(route.path, guarded(token, route.endpoint), methods=sorted(route.methods or ()))
            for route in [*own, *extra]
        ]
        return [Mount("/_sandbox", routes=routes)]

    async def _show_status(self, request: Request) -> Response:
        """Counts and troubles of the cloud, and whatever the daemon adds about its other parts."""
        store = self._cloud.store
        droplets = store.all("droplet")
        document: Document = {
            "droplets": [
                {
                    "id": droplet["id"],
                    "name": droplet["name"],
                    "status": droplet["status"],
                    "region": droplet["region"],
                    "size": droplet["size"],
                    "public": droplet["public"]["address"],
                    "private": droplet["private"]["address"],
                    "running": self._cloud.machines.running(droplet["id"]),
                }
                for droplet in droplets
            ],
            "databases": [self._database(cluster) for cluster in store.all("database")],
            "being_destroyed": [droplet["id"] for droplet in store.all("doomed_droplet")],
            "actions_in_progress": sum(action["status"] == "in-progress" for action in store.all("action")),
            "failed_actions": [
                {
                    "id": action["id"],
                    "type": action["type"],
                    "of": action["resource"],
                    "why": action["failure"],
                }
                for action in store.all("action")
                if action["status"] == "errored"
            ],
            "network_failure": self._cloud.fabric.failure,
            "disk_failure": str(store.disk.error()) if store.disk.full() else None,
        }
        return JSONResponse(document | (self._status() if self._status else {}))

    async def _list_faults(self, request: Request) -> Response:
        return JSONResponse({"faults": self._faults.listing()})

    async def _add_fault(self, request: Request) -> Response:
        number = self._faults.add(parse(Fault, await _json(request)))
        return JSONResponse({"id": number}, 201)

    async def _clear_faults(self, request: Request) -> Response:
        self._faults.clear()
        return Response(status_code=204)

    async def _list_requests(self, request: Request) -> Response:
        return JSONResponse({"requests": self._log.listing()})

    async def _console(self, request: Request) -> Response:
        number, name = self._machine(request)
        path = self._cloud.machines.console(number)
        if path is None:
            raise not_found(f"{name} has no console log: it is a record, not a machine")
        return JSONResponse({"path": str(path)})

    async def _machine_fault(self, request: Request) -> Response:
        """kill cuts the power, isolate pulls the network cables, heal puts them back."""
        number = self._droplet(request)["id"]
        kind = parse(MachineFault, await _json(request)).kind
        if kind == "kill":
            await self._cloud.machines.stop(number, graceful=False)
            self._cloud.on_exit(number)
        else:
            self._cloud.isolate(number, isolated=kind == "isolate")
            await self._cloud.fabric.applied()
        return Response(status_code=204)

    def _database(self, cluster: Document) -> Document:
        databases = self._cloud.databases
        return {
            "id": cluster["id"],
            "name": cluster["name"],
            "status": cluster["status"],
            "primary": databases.driver.primary(cluster["id"]),
            "nodes": [
                {
                    "id": node["id"],
                    "name": node["hostname"],
                    "public": node["public"]["address"],
                    "private": node["private"]["address"],
                }
                for node in cluster["nodes"]
            ],
            "failure": databases.failures.get(cluster["id"]),
        }

    async def _database_fault(self, request: Request) -> Response:
        """The same for a cluster: kill cuts the power of its primary node, isolate pulls the cables of all of them."""
        wanted = request.path_params["database"]
        kind = parse(MachineFault, await _json(request)).kind
        clusters = self._cloud.store.all("database")
        cluster = next((one for one in clusters if wanted in (one["id"], one["name"])), None)
        if cluster is None:
            raise not_found(f"there is no database cluster {wanted}")
        if kind == "kill":
            await self._cloud.databases.driver.kill_primary(cluster["id"])
        else:
            for node in cluster["nodes"]:
                self._cloud.isolate(node["id"], isolated=kind == "isolate")
            await self._cloud.fabric.applied()
        return Response(status_code=204)

    def _machine(self, request: Request) -> tuple[int, str]:
        """The machine that the path names, of a droplet or a cluster's node: its id and name."""
        wanted = request.path_params["machine"]
        for node in self._cloud.every_database_node():
            if wanted in (str(node["id"]), node["hostname"]):
                return node["id"], f"node {node['hostname']}"
        droplet = self._droplet(request)
        return droplet["id"], f"droplet {droplet['name']}"

    def _droplet(self, request: Request) -> Document:
        """The droplet that the path names, by id or by name."""
        wanted = request.path_params["machine"]
        found = (
            droplet
            for droplet in self._cloud.store.all("droplet")
            if wanted in (str(droplet["id"]), droplet["name"])
        )
        droplet = next(found, None)
        if droplet is None:
            raise not_found(f"there is no droplet {wanted}")
        return droplet


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError as error:
        raise bad_request("error parsing request body") from error
