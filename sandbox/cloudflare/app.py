"""The routes under /client/v4."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Network
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

from sandbox.cloudflare import origin_ca, origin_pulls, records, zone_settings, zones
from sandbox.cloudflare.envelope import ApiError, answer, json_object, page, refuse_unknown
from sandbox.cloudflare.guard import REQUESTS_PER_WINDOW, RateLimit
from sandbox.cloudflare.ranges import ip_ranges
from sandbox.cloudflare.tokens import Tokens
from sandbox.disk import DiskFullError
from sandbox.store import Document, Store

_Handler = Callable[[Request], Awaitable[Response]]
_ID = re.compile(r"[0-9a-f]{32}")


# Method, path below /client/v4, and the handler of `_Api`.
ROUTES: Mapping[tuple[str, str], str] = {
    ("GET", "/user/tokens/verify"): "verify_token",
    ("GET", "/accounts"): "list_accounts",
    ("GET", "/accounts/{account}"): "get_account",
    ("GET", "/zones"): "list_zones",
    ("POST", "/zones"): "create_zone",
    ("GET", "/zones/{zone}"): "get_zone",
    ("PATCH", "/zones/{zone}"): "edit_zone",
    ("DELETE", "/zones/{zone}"): "delete_zone",
    ("GET", "/zones/{zone}/settings"): "list_settings",
    ("PATCH", "/zones/{zone}/settings"): "change_settings",
    ("GET", "/zones/{zone}/settings/{setting}"): "get_setting",
    ("PATCH", "/zones/{zone}/settings/{setting}"): "change_setting",
    ("GET", "/zones/{zone}/dns_records"): "list_records",
    ("POST", "/zones/{zone}/dns_records"): "create_record",
    ("GET", "/zones/{zone}/dns_records/{record}"): "get_record",
    ("PUT", "/zones/{zone}/dns_records/{record}"): "replace_record",
    ("PATCH", "/zones/{zone}/dns_records/{record}"): "update_record",
    ("DELETE", "/zones/{zone}/dns_records/{record}"): "delete_record",
    ("GET", "/zones/{zone}/origin_tls_client_auth"): "list_client_certificates",
    ("POST", "/zones/{zone}/origin_tls_client_auth"): "upload_client_certificate",
    # Before the certificates, for `settings` is no id of one.
    ("GET", "/zones/{zone}/origin_tls_client_auth/settings"): "get_origin_pulls",
    ("PUT", "/zones/{zone}/origin_tls_client_auth/settings"): "set_origin_pulls",
    ("GET", "/zones/{zone}/origin_tls_client_auth/{certificate}"): "get_client_certificate",
    ("DELETE", "/zones/{zone}/origin_tls_client_auth/{certificate}"): "delete_client_certificate",
    ("GET", "/certificates"): "list_origin_certificates",
    ("POST", "/certificates"): "create_origin_certificate",
    ("GET", "/certificates/{certificate}"): "get_origin_certificate",
    ("DELETE", "/certificates/{certificate}"): "revoke_origin_certificate",
    ("GET", "/ips"): "list_ips",
}
# The ranges are public: no token is asked for.
_PUBLIC = frozenset({"/ips"})


class CloudflareSettings(Protocol):
    """What the API must be told: the API token it accepts, and where the sandbox's own droplets live."""

    @property
    def cloudflare_token(self) -> str: ...

    @property
    def public_network(self) -> IPv4Network: ...


def routes(
    store: Store,
    settings: CloudflareSettings,
    *,
    requests_per_window: int | None = REQUESTS_PER_WINDOW,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
) -> list[BaseRoute]:
    """Cloudflare's API over this store; who must know of changes watches the store.

    `requests_per_window`: calls in five minutes until all are refused for five more; None lifts the limit.
    `now`: seconds since the epoch, by which certificates reach the edge.
    """
    api, tokens = _Api(store, settings, now), Tokens(store, settings.cloudflare_token)
    limit = RateLimit(requests_per_window, clock)

    def guarded(handler: _Handler, path: str) -> _Handler:
        async def call(request: Request) -> Response:
            limit.admit()
            token = request.state.token = tokens.of(request)
            if request.method not in ("GET", "DELETE"):
                store.disk.require()
            for kind in ("account", "zone", "record"):
                _check_identifier(request, request.path_params.get(kind))
            token.require(request.method, path, request.path_params.get("zone"))
            return await handler(request)

        return call

    served = []
    for (method, path), name in ROUTES.items():
        handler: _Handler = getattr(api, name)
        served.append(Route(path, handler if path in _PUBLIC else guarded(handler, path), methods=[method]))
    application = Starlette(
        routes=served,
        exception_handlers={ApiError: _refuse, DiskFullError: _no_room, HTTPException: _no_such_route},
    )
    return [Mount("/client/v4", app=application)]


class _Api:
    """The handlers: they read the request, ask the store's modules and dress the answer."""

    def __init__(self, store: Store, settings: CloudflareSettings, now: Callable[[], float]) -> None:
        self._store = store
        self._settings = settings
        self._now = now

    async def verify_token(self, request: Request) -> Response:
        token = request.state.token.digest[:32]
        note = {"code": 10000, "message": "This API Token is valid and active", "type": None}
        return answer({"id": token, "status": "active"}, messages=[note])

    async def list_ips(self, request: Request) -> Response:
        return answer(ip_ranges(self._store).document())

    async def list_accounts(self, request: Request) -> Response:
        return page(request, [zones.account(self._store)], default=20, least=5, most=50)

    async def get_account(self, request: Request) -> Response:
        account = zones.account(self._store)
        if request.path_params["account"] != account["id"]:
            raise ApiError(404, 7003, _unroutable(request))
        return answer(account)

    async def list_zones(self, request: Request) -> Response:
        found = zones.matching(self._store, dict(request.query_params))
        # A token of some zones does not learn of the others.
        found = [zone for zone in found if request.state.token.sees(zone["id"])]
        return page(request, found, default=20, least=5, most=50)

    async def create_zone(self, request: Request) -> Response:
        return answer(zones.create(self._store, await json_object(request)))

    async def get_zone(self, request: Request) -> Response:
        return answer(self._zone(request))

    async def edit_zone(self, request: Request) -> Response:
        body = await json_object(request)
        return answer(zones.edit(self._store, self._zone(request), body))

    async def delete_zone(self, request: Request) -> Response:
        zone = self._zone(request)
        zones.delete(self._store, zone)
        return answer({"id": zone["id"]})

    async def list_settings(self, request: Request) -> Response:
        return answer(zone_settings.read_all(self._store, self._zone(request)["id"]))

    async def get_setting(self, request: Request) -> Response:
        zone = self._zone(request)
        return answer(zone_settings.read(self._store, zone["id"], request.path_params["setting"]))

    async def change_setting(self, request: Request) -> Response:
        body = await json_object(request)
        refuse_unknown(body, frozenset({"value", "id", "editable", "modified_on"}))
        zone = self._zone(request)
        setting = request.path_params["setting"]
        return answer(zone_settings.change(self._store, zone["id"], setting, body.get("value")))

    async def change_settings(self, request: Request) -> Response:
        items = (await json_object(request)).get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ApiError(400, 1004, "Missing 'items'")
        zone = self._zone(request)
        with self._store.transaction():
            done = [
                zone_settings.change(self._store, zone["id"], str(item.get("id")), item.get("value"))
                for item in items
            ]
        return answer(done)

    async def list_records(self, request: Request) -> Response:
        found = records.matching(self._store, self._zone(request), dict(request.query_params))
        # https://developers.cloudflare.com/api/resources/dns/subresources/records/methods/list/
        return page(request, [records.shown(r) for r in found], default=100, least=1, most=5_000_000)

    async def create_record(self, request: Request) -> Response:
        body = await json_object(request)
        zone, own = self._zone(request), self._settings.public_network
        return answer(records.shown(records.create(self._store, zone, body, own)))

    async def get_record(self, request: Request) -> Response:
        return answer(records.shown(self._record(request)))

    async def replace_record(self, request: Request) -> Response:
        body = await json_object(request)
        zone, record = self._zone(request), self._record(request)
        own = self._settings.public_network
        return answer(records.shown(records.replace(self._store, zone, record, body, own)))

    async def update_record(self, request: Request) -> Response:
        body = await json_object(request)
        zone, record = self._zone(request), self._record(request)
        own = self._settings.public_network
        return answer(records.shown(records.update(self._store, zone, record, body, own)))

    async def delete_record(self, request: Request) -> Response:
        record = self._record(request)
        self._store.delete(records.KIND, record["id"])
        return answer({"id": record["id"]})

    async def list_client_certificates(self, request: Request) -> Response:
        found = origin_pulls.of_zone(self._store, self._zone(request)["id"], self._now())
        return page(request, found, default=20, least=5, most=50)

    async def upload_client_certificate(self, request: Request) -> Response:
        body = await json_object(request)
        return answer(origin_pulls.upload(self._store, self._zone(request)["id"], body, self._now()))

    async def get_client_certificate(self, request: Request) -> Response:
        zone, now = self._zone(request)["id"], self._now()
        found = origin_pulls.get(self._store, zone, request.path_params["certificate"], now)
        return answer(origin_pulls.shown(found, now))

    async def delete_client_certificate(self, request: Request) -> Response:
        zone, certificate = self._zone(request)["id"], request.path_params["certificate"]
        return answer(origin_pulls.delete(self._store, zone, certificate, self._now()))

    async def get_origin_pulls(self, request: Request) -> Response:
        return answer({"enabled": origin_pulls.enabled(self._store, self._zone(request)["id"])})

    async def set_origin_pulls(self, request: Request) -> Response:
        body = await json_object(request)
        return answer(origin_pulls.enable(self._store, self._zone(request)["id"], body))

    async def list_origin_certificates(self, request: Request) -> Response:
        zone = request.query_params.get("zone_id")
        if zone is None:
            raise ApiError(400, 1002, "Missing zone_id: certificates are listed by zone")
        found = origin_ca.of_zone(self._store, zones.get(self._store, zone))
        return page(request, found, default=20, least=5, most=50)

    async def create_origin_certificate(self, request: Request) -> Response:
        return answer(origin_ca.create(self._store, await json_object(request)))

    async def get_origin_certificate(self, request: Request) -> Response:
        return answer(origin_ca.shown(origin_ca.get(self._store, request.path_params["certificate"])))

    async def revoke_origin_certificate(self, request: Request) -> Response:
        return answer(origin_ca.revoke(self._store, request.path_params["certificate"]))

    def _zone(self, request: Request) -> Document:
        return zones.get(self._store, request.path_params["zone"])

    def _record(self, request: Request) -> Document:
        return records.get(self._store, self._zone(request)["id"], request.path_params["record"])


def _check_identifier(request: Request, identifier: str | None) -> None:
    if identifier is not None and not _ID.fullmatch(identifier):
        raise ApiError(400, 7003, _unroutable(request), chain=[(7000, "No route for that URI")])


def _unroutable(request: Request) -> str:
    return f"Could not route to {request.url.path}, perhaps your object identifier is invalid?"


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return error.response()


async def _no_room(request: Request, error: Exception) -> Response:
    """The host's disk is full, which the real API never tells a client."""
    return ApiError(507, 10001, str(error)).response()


async def _no_such_route(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        refusal = ApiError(405, 7001, f"Method {request.method} not available for that URI.")
        refusal.headers.update(error.headers or {})
        return refusal.response()
    return ApiError(404, 7000, "No route for that URI").response()
