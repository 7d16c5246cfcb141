"""Who may call the providers: the user who runs them, and root.

They run commands on this host, so a port that any local user may connect to would be a way into their user's account.
gRPC on the loopback has no notion of users; the kernel's connection table does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

_PEER = re.compile(r"ipv4:127\.0\.0\.1:(\d+)")
# 127.0.0.1 as the kernel's tables write it; field 2 is the local address, 8 the user (proc_pid_net(5)).
_LOOPBACKS = {"/proc/net/tcp": "0100007F", "/proc/net/tcp6": "0000000000000000FFFF00000100007F"}
_ROOT = 0


class SameUserOnly(grpc.aio.ServerInterceptor):
    """Refuses calls of other users with PERMISSION_DENIED."""

    def __init__(self, owner_of: Callable[[str], int | None] | None = None) -> None:
        self._owner_of = owner_of or connection_owner
        self._admitted = frozenset({os.getuid(), _ROOT})

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return None  # the engine's provider protocol has single calls only
        inner = handler.unary_unary

        async def guarded(request: Any, context: Any) -> Any:
            if self._owner_of(context.peer()) not in self._admitted:
                await context.abort(
                    grpc.StatusCode.PERMISSION_DENIED,
                    "these providers serve the user who started the sandbox",
                )
            return await inner(request, context)

        return grpc.unary_unary_rpc_method_handler(
            guarded, handler.request_deserializer, handler.response_serializer
        )


def connection_owner(peer: str) -> int | None:
    """The user at the client's end of a loopback connection (gRPC's spelling); None when that is not to be known."""
    match = _PEER.fullmatch(unquote(peer))
    return None if match is None else port_owner(int(match[1]))


def port_owner(port: int) -> int | None:
    """The user who holds the loopback port. Without Linux's tables it is taken to be us: there is no way to tell."""
    told = False
    for table, loopback in _LOOPBACKS.items():
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        told = True
        local = f"{loopback}:{port:04X}"
        for line in lines:
            columns = line.split()
            # A connection that is closing belongs to nobody any more: its inode is 0.
            if columns[1] == local and columns[9] != "0":
                return int(columns[7])
    return None if told else os.getuid()
