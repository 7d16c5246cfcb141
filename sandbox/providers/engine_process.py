"""The engine at the other end of a connection: its environment and directory.

An official plugin is a child of the engine and inherits both. Our providers live longer than one run and serve
several, so they look the engine up by the connection's port, and fall back to their own environment when the
engine is not to be found (another user's process, or no Linux).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_PEER = re.compile(r"ipv4:127\.0\.0\.1:(\d+)")
# 127.0.0.1 as the kernel's tables write it.
_LOOPBACKS = {"/proc/net/tcp": "0100007F", "/proc/net/tcp6": "0000000000000000FFFF00000100007F"}
_PROJECT_FILES = ("Pulumi.yaml", "Pulumi.yml", "Pulumi.json")


@dataclass(frozen=True, slots=True)
class EngineProcess:
    """What a plugin started by the engine would have inherited; `number` is its process id."""

    number: int
    environment: Mapping[str, str]
    directory: Path


def find_engine(peer: str) -> EngineProcess:
    """The process that holds the client side of the connection `peer` (gRPC's spelling)."""
    own = EngineProcess(os.getpid(), dict(os.environ), Path.cwd())
    match = _PEER.fullmatch(unquote(peer))
    process = _owner_of_port(int(match[1])) if match else None
    if process is None:
        return own
    try:
        directory = _project_directory((process / "cwd").resolve(strict=True))
        return EngineProcess(int(process.name), _environment(process), directory)
    except OSError:
        return own


def _owner_of_port(port: int) -> Path | None:
    inode = _socket_inode(port)
    if inode is None:
        return None
    wanted = f"socket:[{inode}]"
    return next((process for process in _processes() if _holds(process, wanted)), None)


def _socket_inode(port: int) -> str | None:
    """The socket bound to the loopback port, whether it was opened as IPv4 or as IPv6."""
    for table, loopback in _LOOPBACKS.items():
        local = f"{loopback}:{port:04X}"
        try:
            columns = [line.split() for line in Path(table).read_text().splitlines()[1:]]
        except OSError:
            continue
        for line in columns:
            if line[1] == local and line[9] != "0":
                return line[9]
    return None


def _processes() -> Iterator[Path]:
    """All processes, the ones called pulumi first: one of those it is, as a rule."""
    found = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    return iter(sorted(found, key=lambda path: not _command(path).startswith("pulumi")))


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text()
    except OSError:
        return ""


def _holds(process: Path, socket: str) -> bool:
    try:
        return any(_target(link) == socket for link in (process / "fd").iterdir())
    except OSError:
        return False


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _environment(process: Path) -> dict[str, str]:
    entries = (process / "environ").read_bytes().split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)
    return {name: value for name, _, value in pairs}


def _project_directory(start: Path) -> Path:
    """The program's directory, where the engine starts its plugins: that of the nearest project file."""
    for directory in (start, *start.parents):
        if any((directory / name).is_file() for name in _PROJECT_FILES):
            return directory
    return start
