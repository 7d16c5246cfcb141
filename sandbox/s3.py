"""Object storage (Spaces) of the sandbox: moto's S3 in a process of its own, on the loopback interface."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from sandbox import processes
from sandbox.paths import MARKER
from sandbox.processes import ProcessId
from sandbox.s3_keys import AccessKey, write_keys

_LOG_TAIL = 2000


class S3Error(Exception):
    """The object storage did not start; the text holds the end of its log."""


class S3Server:
    """The S3 server of one sandbox. Buckets survive `kill -9` of it and of the host."""

    def __init__(self, home: Path, port: int) -> None:
        self._home = home
        self._port = port
        self._directory = home / "s3"
        self._keys = self._directory / "keys.json"
        self._identity = self._directory / "server.id"
        self._log = self._directory / "server.log"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def running(self) -> bool:
        return ProcessId.read(self._identity) is not None

    def allow(self, keys: Iterable[AccessKey]) -> None:
        """Let these keys in and no others, from the next request on."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_keys(self._keys, keys)

    async def start(self) -> None:
        """Return when requests are answered; one that an earlier daemon left running is taken over."""
        if self.running():
            return
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        told, tell = os.pipe()
        try:
            with self._log.open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "sandbox.s3_server",
                    *("--directory", str(self._directory / "buckets")),
                    *("--keys", str(self._keys)),
                    *("--port", str(self._port)),
                    *("--ready-fd", str(tell)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[tell],
                    start_new_session=True,
                    cwd=Path(__file__).parent.parent,
                    env={**os.environ, MARKER: str(self._home)},
                )
            os.close(tell)
            tell = -1
            # The end of the pipe comes with the end of the process.
            word = await asyncio.to_thread(os.read, told, 16)
        finally:
            os.close(told)
            if tell >= 0:
                os.close(tell)
        identity = ProcessId.of(process.pid)
        if word != b"ready" or identity is None:
            await process.wait()
            tail = (await asyncio.to_thread(self._log.read_text))[-_LOG_TAIL:].strip()
            raise S3Error(f"object storage did not start on port {self._port}: {tail}")
        identity.write(self._identity)

    async def stop(self) -> None:
        found = ProcessId.read(self._identity)
        if found is not None:
            await asyncio.to_thread(processes.end, [found.pid], patience=5.0)
        self._identity.unlink(missing_ok=True)
