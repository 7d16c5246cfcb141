"""The output of a running command: kept whole, and shown line by line while it comes."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal, Protocol

from sandbox.providers.call import Call
from sandbox.providers.values import Values

Stream = Literal["stdout", "stderr"]

_CHUNK = 64 * 1024
_SHOWN: dict[str | None, tuple[str, ...]] = {
    None: ("stdout", "stderr"),
    "stdoutAndStderr": ("stdout", "stderr"),
    "stdout": ("stdout",),
    "stderr": ("stderr",),
    "none": (),
}


class _Reader(Protocol):
    async def read(self, n: int = -1) -> bytes: ...


class Output:
    """Both streams of one command."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._shown = _SHOWN[call.inputs.get("logging")]
        self._whole = bytearray()
        self._streams: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._unfinished = {"stdout": b"", "stderr": b""}

    async def collect(self, stdout: Any, stderr: Any) -> None:
        """Read both streams to their ends."""
        await asyncio.gather(self._drain("stdout", stdout), self._drain("stderr", stderr))

    @property
    def values(self) -> Values:
        """The outputs of a command that succeeded, each without its last line end."""
        return {name: _text(data).removesuffix("\n") for name, data in self._streams.items()}

    def failure(self, status: str, command: str) -> str:
        """The error text: how it ended, what ran, and all it said."""
        return f"{status}: running {json.dumps(command, ensure_ascii=False)}:\n{_text(self._whole)}"

    async def _drain(self, name: Stream, reader: _Reader) -> None:
        while chunk := await reader.read(_CHUNK):
            self._whole += chunk
            self._streams[name] += chunk
            await self._show(name, chunk)
        if self._unfinished[name]:
            await self._show(name, b"\n")

    async def _show(self, name: Stream, chunk: bytes) -> None:
        if name not in self._shown:
            return
        *lines, self._unfinished[name] = (self._unfinished[name] + chunk).split(b"\n")
        for line in lines:
            await self._call.session.log("info", _text(line), self._call.urn, passing=True)


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="replace")
