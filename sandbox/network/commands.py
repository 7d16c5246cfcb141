"""Run iproute2 and nftables without blocking the loop; a failure names the line that failed."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Sequence
from typing import Any

from sandbox.network.namespaces import NetworkError, namespace_path

_PACKAGES = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}


def check_tools() -> None:
    """Raises NetworkError with the line to type when a tool is missing."""
    missing = [package for tool, package in _PACKAGES.items() if shutil.which(tool) is None]
    if missing:
        raise NetworkError(
            f"missing on this machine: {', '.join(missing)}; install: apt-get install {' '.join(missing)}"
        )


async def ip_batch(lines: Sequence[str], namespace: str | None = None) -> None:
    """Run `ip` commands in order, stopping at the first that fails; none at all is fine."""
    if not lines:
        return
    command = ["ip", *(("-n", namespace) if namespace else ()), "-batch", "-"]
    code, _, errors = await _run(command, "\n".join(lines) + "\n")
    if code != 0:
        place = re.search(r"Command failed -:(\d+)", errors)
        line = lines[int(place[1]) - 1] if place else "; ".join(lines)
        raise NetworkError(f"`ip {line}` failed in {namespace or 'the host'}: {errors.strip()}")


async def ip_json(arguments: Sequence[str], namespace: str) -> list[dict[str, Any]]:
    """Ask `ip` for a list of objects."""
    code, output, errors = await _run(["ip", "-n", namespace, "-j", *arguments])
    if code != 0:
        raise NetworkError(f"`ip {' '.join(arguments)}` failed in {namespace}: {errors.strip()}")
    answer: list[dict[str, Any]] = json.loads(output or "[]")
    return [entry for entry in answer if entry]


async def nft(ruleset: str, namespace: str) -> None:
    """Apply a ruleset in one transaction: all of it or none."""
    code, _, errors = await _run(["nsenter", f"--net={namespace_path(namespace)}", "nft", "-f", "-"], ruleset)
    if code != 0:
        raise NetworkError(f"the packet filter of {namespace} was refused: {errors.strip()}")


async def _run(command: Sequence[str], text: str = "") -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        output, errors = await process.communicate(text.encode())
    except BaseException:
        # Cancelled: never leave a half-done batch running beside the next one.
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(), errors.decode()
