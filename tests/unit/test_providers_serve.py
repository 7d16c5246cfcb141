"""The providers as a process: ports told once they are open, and a taken one named."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from sandbox.providers.serve import serving


async def test_the_ports_are_told_when_they_are_open_and_the_process_ends_on_request(tmp_path: Path) -> None:
    told = tmp_path / "ports.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox.providers", "--ports-file", str(told)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    ports = json.loads(await process.stdout.readline())
    assert sorted(ports) == ["cloudflare", "command", "digitalocean"]
    _, writer = await asyncio.open_connection("127.0.0.1", ports["digitalocean"])
    writer.close()
    process.terminate()
    assert await process.wait() == 0
    assert json.loads(told.read_text()) == ports


async def test_a_port_that_another_process_serves_is_an_error() -> None:
    async with serving() as ports:
        taken = {"command": ports["command"]}
        with pytest.raises(OSError, match="provider command is taken; choose another with --command-port"):
            async with serving(taken):
                pass
