"""The commands of the demo: what an operator would type, shown and run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class DemoError(Exception):
    """The story cannot go on; the text tells why and where to look."""


def environment() -> dict[str, str]:
    """That of `eval "$(python -m sandbox env)"`. Raises DemoError when no local cloud runs."""
    binaries = str(Path(sys.executable).parent)
    here = {**os.environ, "PATH": f"{binaries}:{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        ["bash", "-c", 'eval "$(python -m sandbox env)" && env -0'],
        cwd=ROOT,
        env=here,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or "PULUMI_BACKEND_URL" not in done.stdout:
        raise DemoError(f"there is no local cloud: {done.stderr.strip()}; `make up STACK=prod` makes one")
    pairs = (entry.partition("=") for entry in done.stdout.split("\0") if entry)
    return {name: value for name, _, value in pairs}


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs lines in the checkout."""

    environment: Mapping[str, str]
    show: Callable[[str], None]
    echo: Callable[[str], None]

    async def run(self, line: str) -> None:
        """A line whose output is part of the story. Raises DemoError when it fails."""
        self.show(line)
        process = await self._start(line, asyncio.subprocess.STDOUT)
        async for said in process.stdout or asyncio.StreamReader():
            self.echo(said.decode(errors="replace").rstrip())
        if await process.wait() != 0:
            raise DemoError(f"`{line}` ended with {process.returncode}; what it said is above")

    async def ask(self, line: str) -> str:
        """A line that only the story needs; its standard output."""
        process = await self._start(line, asyncio.subprocess.PIPE)
        said, complaint = await process.communicate()
        if process.returncode != 0:
            raise DemoError(
                f"`{line}` ended with {process.returncode}: {complaint.decode(errors='replace').strip()[-500:]}"
            )
        return said.decode().strip()

    async def ask_json(self, line: str) -> Any:
        return json.loads(await self.ask(line))

    async def _start(self, line: str, complaint: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", line),
            cwd=ROOT,
            env=dict(self.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaint,
        )
