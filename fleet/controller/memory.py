"""What the controller keeps on disk: its memory, and the operators' orders.

Each file is one JSON object, replaced whole and synced before its rename, so that a crash leaves the old or the new one.
What cannot be read is never guessed and never written over: a memory that cannot be read holds everything, and so do
orders that are missing or cannot be read.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from fleet.controller.codec import decode, encode
from fleet.controller.model import Memory, Orders
from fleet.reading import ConfigError, decode_object

VERSION: Final = 1
MEMORY: Final = "memory.json"
ORDERS: Final = "hold.json"


def begin(directory: Path) -> None:
    """Where a controller never was, there are no orders: that is the only time that missing ones hold nothing."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (directory / MEMORY).exists() and not (directory / ORDERS).exists():
        write_orders(directory, Orders())


def load(directory: Path) -> Memory:
    """The memory; an empty one where there is none, one that is `held` where it cannot be read."""
    path = directory / MEMORY
    try:
        return decode(Memory, _versioned(path), "memory")
    except FileNotFoundError:
        return Memory()
    except (OSError, ConfigError) as error:
        return Memory(held=f"{path} cannot be read: {error}; move it away to begin anew")


def save(directory: Path, memory: Memory) -> None:
    """Raises OSError. A held memory stands for a file that could not be read, which is left as it is."""
    if not memory.held:
        _replace(directory / MEMORY, {"version": VERSION, **encode(memory)})


def read_orders(directory: Path) -> Orders | None:
    """None when they are missing or cannot be read, which holds everything."""
    try:
        return decode(Orders, _versioned(directory / ORDERS), "orders")
    except (OSError, ConfigError):
        return None


def write_orders(directory: Path, orders: Orders) -> None:
    """Raises OSError."""
    _replace(directory / ORDERS, {"version": VERSION, **encode(orders)})


def dumps(memory: Memory) -> str:
    """The memory's document, as on disk."""
    return json.dumps({"version": VERSION, **encode(memory)})


def _versioned(path: Path) -> dict[str, object]:
    document = decode_object(path.name, path.read_bytes())
    version = document.pop("version", None)
    if version != VERSION:
        raise ConfigError(
            f"its version is {str(version)[:20]!r}, and this controller reads version {VERSION}"
        )
    return document


def _replace(path: Path, document: dict[str, object]) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as file:
        os.fchmod(file.fileno(), 0o600)
        json.dump(document, file)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
