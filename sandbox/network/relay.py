"""A TCP relay between two networks that have no route to each other: bytes pass, packets do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_CHUNK = 65536


async def start_relay(listener: socket.socket, host: str, port: int) -> asyncio.Server:
    """Pass every connection to `listener` on to `host`:`port` as seen from here; close the server to stop it.

    When nobody listens there the client's connection is closed at once.
    """

    async def pass_on(client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            server_in, server_out = await asyncio.open_connection(host, port)
        except OSError:
            await _close(client_out)
            return
        try:
            await asyncio.gather(_copy(client_in, server_out), _copy(server_in, client_out))
        finally:
            await _close(server_out)
            await _close(client_out)

    return await asyncio.start_server(pass_on, sock=listener)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then say so to the target; a broken connection ends both ways quietly."""
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
