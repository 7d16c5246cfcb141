"""Programs that live and die with the daemon."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.config import PROVIDERS, SandboxConfig
from sandbox.environment import api_variables
from sandbox.paths import MARKER, SandboxPaths

_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
_TOP = Path(__file__).resolve().parent.parent


class ChildError(Exception):
    """A program did not come up; the text names it and where its words are."""


@dataclass(frozen=True, slots=True)
class Child:
    """A program that says it is ready by its first line on stdout; the kernel ends it when the daemon dies."""

    name: str
    command: tuple[str, ...]
    paths: SandboxPaths
    variables: dict[str, str] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Up on entry, gone on exit. Raises ChildError."""
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "TERM", *self.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            cwd=_TOP,
            env={**os.environ, **self.variables, MARKER: str(self.paths.home)},
        )
        try:
            await self._await_word(process)
            yield
        finally:
            await _end(process)

    async def _await_word(self, process: asyncio.subprocess.Process) -> None:
        stdout = process.stdout
        if stdout is None:  # it was asked for above
            raise ChildError(f"{self.name} has no output")
        try:
            word = await asyncio.wait_for(stdout.readline(), _READY_SECONDS)
        except TimeoutError:
            word = b""
        if not word:
            raise ChildError(f"{self.name} did not start; see {self.paths.log}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def providers(paths: SandboxPaths, config: SandboxConfig) -> Child:
    """The Pulumi providers, for engines without the official plugins."""
    ports = [f"--{name}-port={config.ports[name]}" for name in PROVIDERS]
    command = (sys.executable, "-m", "sandbox.providers", *ports)
    return Child("the providers", command, paths, api_variables(config))
