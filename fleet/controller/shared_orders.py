"""The operators' orders in the stack's datastore, so that a new node is told what the one before was told.

The file on the node is what counts: an order is in force at once, and the datastore may be away. Only a node that never
had orders asks for them there; and when it cannot be told, it holds everything until somebody says otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Protocol

from fleet.config import ConfigError
from fleet.controller import memory
from fleet.controller.codec import decode, encode
from fleet.controller.model import Hold, Orders
from fleet.datastore_s3 import AbsentError, StoreError
from fleet.reading import decode_object

KEY: Final = "controller/hold.json"
MOST_BYTES: Final = 16 * 1024


class Store(Protocol):
    """What is needed of a bucket."""

    def get(self, key: str, *, largest: int) -> tuple[bytes, str]: ...
    def put(self, key: str, body: bytes) -> str: ...


def publish(store: Store, orders: Orders) -> None:
    """Raises StoreError."""
    store.put(KEY, json.dumps({"version": memory.VERSION, **encode(orders)}).encode())


def restore(store: Store | None, state: Path) -> str:
    """Orders for a node that never had any; what was done, in words. Raises OSError."""
    if (state / memory.ORDERS).exists() or (state / memory.MEMORY).exists():
        return "this node has its orders"
    if store is None:
        return "this stack has no datastore, so there are no earlier orders"
    try:
        found = _parsed(store.get(KEY, largest=MOST_BYTES)[0])
    except AbsentError:
        return "there are no earlier orders"
    except (StoreError, ConfigError) as error:
        hold = Hold(owner="controller", reason=f"earlier orders cannot be read: {error}")
        memory.write_orders(state, Orders(create=hold, destroy=hold))
        return f"everything is held: {hold.reason}"
    memory.write_orders(state, found)
    return "the orders that the node before had"


def _parsed(text: bytes) -> Orders:
    document = decode_object(KEY, text)
    version = document.pop("version", None)
    if version != memory.VERSION:
        raise ConfigError(f"{KEY} has version {str(version)[:20]!r}; this node reads {memory.VERSION}")
    return decode(Orders, document, KEY)
