"""A TCP relay between two networks that have no route to each other: bytes pass, packets do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket

_CHUNK = 65536


class Relay:
    """Passes every connection to a listening socket on to `host`:`port` as seen from this process.

    When nobody listens there the client's connection is closed at once.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self, listener: socket.socket) -> None:
        """Take connections from `listener`, which is closed by `stop`."""
        self._server = await asyncio.start_server(self._accept, sock=listener)

    async def stop(self) -> None:
        """Close the listener and cut every connection; returns when all are closed."""
        self._stopped = True
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopped:  # it was on its way when the listener was closed
            writer.close()
            return
        connection = asyncio.create_task(self._pass_on(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # Not in the task itself: one that is cancelled before its first step runs no line of it.
        connection.add_done_callback(lambda _: writer.close())

    async def _pass_on(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            server_in, server_out = await asyncio.open_connection(self._host, self._port)
        except OSError:
            return
        try:
            await asyncio.gather(_copy(client_in, server_out), _copy(server_in, client_out))
        finally:
            server_out.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then say so to the target; a broken connection ends both ways quietly."""
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
