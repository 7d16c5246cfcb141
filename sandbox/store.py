"""The sandbox's memory: JSON documents in SQLite, safe against `kill -9` and a power cut."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.disk import Disk

Document = dict[str, Any]
Watcher = Callable[[frozenset[str]], None]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Store:
    """Documents by kind and id, in the order they were first put.

    Every call outside `transaction()` is durable when it returns; inside, all of them or none.
    One process owns the file (the daemon), so reads need no lock. On a full disk a write raises DiskFullError and
    changes nothing; the next one may succeed.
    """

    def __init__(self, path: Path | str, disk: Disk | None = None) -> None:
        self.disk = disk or Disk(path.parent if isinstance(path, Path) else None)
        self._db = sqlite3.connect(path, isolation_level=None)
        with self._full_disk_told():
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        self._depth = 0
        self._changed: set[str] = set()
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with the kinds of documents that changed, after each commit that changed any."""
        self._watchers.append(watcher)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the puts and deletes inside atomic; may be nested, the outermost one commits."""
        if self._depth > 0:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        with self._full_disk_told():
            self._db.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself when the disk was full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._changed.clear()
                raise
            finally:
                self._depth = 0
        self._tell()

    @contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise self.disk.error() from error
            raise

    def _tell(self) -> None:
        changed, self._changed = frozenset(self._changed), set()
        for watcher in self._watchers if changed else ():
            watcher(changed)

    def get(self, kind: str, key: str | int) -> Document | None:
        row = self._db.execute(
            "SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, str(key))
        ).fetchone()
        return None if row is None else _decode(row[0])

    def all(self, kind: str) -> list[Document]:
        rows = self._db.execute("SELECT body FROM documents WHERE kind = ? ORDER BY position", (kind,))
        return [_decode(row[0]) for row in rows]

    def put(self, kind: str, key: str | int, body: Document) -> None:
        """Insert or replace; a replaced document keeps its place in the order."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO documents (kind, id, position, body) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                (kind, str(key), self.next_number("document-position"), json.dumps(body)),
            )
            self._changed.add(kind)

    def delete(self, kind: str, key: str | int) -> bool:
        """Remove a document; false when there was none."""
        with self.transaction():
            cursor = self._db.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (kind, str(key)))
            if cursor.rowcount > 0:
                self._changed.add(kind)
        return cursor.rowcount > 0

    def next_number(self, name: str, first: int = 1) -> int:
        """A number never handed out before under this name, also over restarts."""
        with self.transaction():
            row = self._db.execute(
                "INSERT INTO counters (name, value) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                (name, first),
            ).fetchone()
        return int(row[0])


def _decode(text: str) -> Document:
    document: Document = json.loads(text)
    return document
