"""Visits, a row for each member: members do not wait for each other, and the sum is the site's count."""

from __future__ import annotations

import threading
from typing import Final

from .database import Database

_CREATE: Final = "CREATE TABLE IF NOT EXISTS visits (member VARCHAR(64) PRIMARY KEY, total BIGINT NOT NULL)"
_SUM: Final = "SELECT COALESCE(SUM(total), 0) FROM visits"


class Counter:
    """Counts visits of one member and sums those of all."""

    def __init__(self, database: Database, member: str) -> None:
        self._database = database
        self._member = member
        self._made = False
        self._making = threading.Lock()

    def visit(self) -> int:
        """Count one visit; returns the number of visits of all members so far."""
        self._make()
        rows = self._database.run((self._database.count_up, (self._member,)), (_SUM, ()))
        return int(rows[-1][0])

    def check(self) -> None:
        """Raises DatabaseError unless the counter can be read."""
        self._make()
        self._database.run((_SUM, ()))

    def _make(self) -> None:
        if self._made:
            return
        with self._making:
            self._database.run((_CREATE, ()))
            self._made = True
