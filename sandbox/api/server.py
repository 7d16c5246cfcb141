"""Serving an application over HTTP on the loopback, with connections that faults can cut."""

from __future__ import annotations

from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.api.gate import ABORT


class CuttableProtocol(H11Protocol):
    """HTTP/1.1 whose requests carry a way to abort their connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        inner = self.app

        async def cuttable(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[ABORT] = self.transport.abort
            await inner(scope, receive, send)

        self.app = cuttable


def make_server(app: ASGIApp, port: int, *, host: str = "127.0.0.1") -> uvicorn.Server:
    """A server for `await server.serve()`; it leaves signals and logging set-up to its caller's process."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=CuttableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return uvicorn.Server(config)
