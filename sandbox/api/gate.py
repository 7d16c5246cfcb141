"""What every request passes first: it is recorded, and faults on demand strike it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.api.faults import Fault, Faults

# What a server adds to a request's scope so that a fault can cut its connection.
ABORT = "sandbox.abort"
_SERVICES = (("/v2", "digitalocean"), ("/client/v4", "cloudflare"))
_KEPT_REQUESTS = 2000
# What nobody ever needs to read again, unlike user data: the keys of certificates that are uploaded.
_HIDDEN_FIELDS = frozenset({"private_key"})
_HIDDEN = "[hidden]"


class ConnectionCutError(Exception):
    """A fault dropped this request or its answer, and the server has no way to cut connections."""


@dataclass(slots=True)
class Recorded:
    """One request to a service; `status` is None when no answer was sent."""

    method: str
    path: str
    query: str
    body: Any
    status: int | None = None
    seconds: float = 0.0
    at: float = field(default_factory=time.time)  # of its arrival, seconds since the epoch


class RequestLog:
    """The last requests, newest last, in memory only: bodies hold user data. Private keys are left out."""

    def __init__(self) -> None:
        self._kept: deque[Recorded] = deque(maxlen=_KEPT_REQUESTS)

    def open(self, method: str, path: str, query: str, content: bytes) -> Recorded:
        entry = Recorded(method, path, query, _decoded(content))
        self._kept.append(entry)
        return entry

    def listing(self) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in self._kept]


class Gate:
    """ASGI middleware for the services; requests to other paths pass untouched."""

    def __init__(self, app: ASGIApp, log: RequestLog, faults: Faults) -> None:
        self._app = app
        self._log = log
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = _service(scope)
        if service is None:
            await self._app(scope, receive, send)
            return
        content = await _read(receive)
        entry = self._log.open(scope["method"], scope["path"], scope["query_string"].decode(), content)
        started = time.monotonic()
        fault = self._faults.strike(service, scope["method"], scope["path"])
        try:
            await self._handle(scope, _replay(content, receive), _noting(entry, send), fault, entry)
        finally:
            entry.seconds = round(time.monotonic() - started, 6)

    async def _handle(
        self, scope: Scope, receive: Receive, send: Send, fault: Fault | None, entry: Recorded
    ) -> None:
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.latency_seconds)
        if fault.drop == "request":
            await _cut(scope, receive)
        elif fault.drop == "answer":
            await self._app(scope, receive, _swallow)
            await _cut(scope, receive)
        elif fault.error is not None:
            body = fault.error.body or {"id": "server_error", "message": "Unexpected server-side error"}
            response = JSONResponse(body, fault.error.status, fault.error.headers)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _service(scope: Scope) -> str | None:
    if scope["type"] != "http":
        return None
    path = scope["path"]
    found = (name for prefix, name in _SERVICES if path == prefix or path.startswith(prefix + "/"))
    return next(found, None)


async def _read(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(chunks)
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(content: bytes, receive: Receive) -> Receive:
    """Give the body that was read to the application, then what really comes."""
    waiting: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _noting(entry: Recorded, send: Send) -> Send:
    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            entry.status = message["status"]
        await send(message)

    return noted


async def _swallow(message: Message) -> None:
    """An answer that never leaves."""


async def _cut(scope: Scope, receive: Receive) -> None:
    """Close the connection without an answer."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT)
    if abort is None:
        raise ConnectionCutError(f"{scope['method']} {scope['path']}")
    abort()
    while (await receive())["type"] != "http.disconnect":
        pass


def _decoded(content: bytes) -> Any:
    if not content:
        return None
    try:
        return _hiding(json.loads(content))
    except (ValueError, RecursionError):
        text = content.decode(errors="replace")
        return _HIDDEN if any(name in text for name in _HIDDEN_FIELDS) else text


def _hiding(value: Any) -> Any:
    """The same without the values of hidden fields, at any depth."""
    if isinstance(value, dict):
        return {name: _HIDDEN if name in _HIDDEN_FIELDS else _hiding(item) for name, item in value.items()}
    return [_hiding(item) for item in value] if isinstance(value, list) else value
