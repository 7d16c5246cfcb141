"""Run a host tool without blocking the loop; a failure is told in the tool's own words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from sandbox.machines.port import MachineError

# A copy onto a full disk complains about every single file.
_SHOWN_LINES = 5


# All that a machine has of its own.
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--root")


async def run(*command: str) -> str:
    """The tool's output; raises MachineError with what it complained about."""
    return await _run(command, f"`{' '.join(command)}`", b"", None)


async def execute(init: int, command: Sequence[str], text: str) -> str:
    """The same inside the machine whose init this is, with `text` on standard input."""
    entered = ("nsenter", f"--target={init}", *_NAMESPACES, *command)
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
    return await _run(entered, f"`{' '.join(command)}` in the machine", text.encode(), variables)


async def _run(command: Sequence[str], what: str, text: bytes, variables: Mapping[str, str] | None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables,
    )
    try:
        output, errors = await process.communicate(text or None)
    except BaseException:
        # Cancelled: a half-done copy must not go on beside whatever comes next.
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise MachineError(f"{what} failed: {_shortened(errors.decode(errors='replace'))}")
    return output.decode()


def _shortened(complaint: str) -> str:
    lines = complaint.strip().splitlines()
    left = len(lines) - _SHOWN_LINES
    return "\n".join([*lines[:_SHOWN_LINES], *([f"(and {left} lines more)"] if left > 0 else [])])
