"""An HTTP server that answers from a script and remembers what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `drop` closes the connection instead."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    line: str
    body: Any
    headers: Mapping[str, str]


class RecordingApi:
    """Replies are taken in order; the last one for a line stays. A line without any is answered 404."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._replies: dict[str, list[Reply]] = {}

    def answer(self, line: str, *replies: Reply | Any) -> None:
        """Script a line such as `GET /v2/tags/web`."""
        self._replies[line] = [item if isinstance(item, Reply) else Reply(item) for item in replies]

    @property
    def lines(self) -> list[str]:
        return [item.line for item in self.asked]

    def body_of(self, line: str) -> Any:
        """The body of the newest request with this line."""
        return next(item.body for item in reversed(self.asked) if item.line == line)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        line = f"{request.method} {request.path_qs}"
        body = await request.json() if request.can_read_body else None
        self.asked.append(Asked(line, body, dict(request.headers)))
        replies = self._replies.get(line) or self._replies.get(f"{request.method} {request.path}")
        if not replies:
            missing = {"id": "not_found", "message": "The resource could not be found.", "request_id": "r-1"}
            return web.json_response(missing, status=404)
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if reply.drop:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if reply.body is None:
            return web.Response(status=reply.status, headers=reply.headers)
        return web.json_response(reply.body, status=reply.status, headers=reply.headers)


@asynccontextmanager
async def recording_api() -> AsyncIterator[RecordingApi]:
    """Serve one on a free port while inside."""
    api = RecordingApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        api.url = f"http://127.0.0.1:{port}"
        yield api
    finally:
        await runner.cleanup()
