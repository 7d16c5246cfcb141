"""Run a host tool without blocking the loop; a failure is told in the tool's own words."""

from __future__ import annotations

import asyncio

from sandbox.machines.port import MachineError

# A copy onto a full disk complains about every single file.
_SHOWN_LINES = 5


async def run(*command: str) -> str:
    """The tool's output; raises MachineError with what it complained about."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except BaseException:
        # Cancelled: a half-done copy must not go on beside whatever comes next.
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise MachineError(f"`{' '.join(command)}` failed: {_shortened(errors.decode(errors='replace'))}")
    return output.decode()


def _shortened(complaint: str) -> str:
    lines = complaint.strip().splitlines()
    left = len(lines) - _SHOWN_LINES
    return "\n".join([*lines[:_SHOWN_LINES], *([f"(and {left} lines more)"] if left > 0 else [])])
