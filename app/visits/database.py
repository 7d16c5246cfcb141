"""MySQL and PostgreSQL behind one small interface: statements in one transaction over TLS.

The environment names the database (DATABASE_ENGINE, _HOST, _PORT, _NAME, _USER) and the files with its password
and authority (DATABASE_PASSWORD_FILE, DATABASE_CA_FILE).
"""

from __future__ import annotations

import importlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

Statement = tuple[str, Sequence[object]]

TIMEOUT_SECONDS: Final = 5
# At once and for each process: the database has as many for all members together as its own limit says.
CONNECTIONS: Final = 8


class DatabaseError(Exception):
    """The database cannot be reached or refuses; the text holds no secret."""


class Database(Protocol):
    """What the site asks of a database."""

    count_up: str  # adds 1 to the row of a member, which may be new

    def run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        """Run statements in one transaction; rows of the last one. Raises DatabaseError."""


class SqlDatabase:
    """A database behind a DB-API module. Connections are kept; one that failed is thrown away."""

    def __init__(
        self, open_connection: Callable[[], Any], errors: tuple[type[Exception], ...], count_up: str
    ) -> None:
        self.count_up = count_up
        self._open = open_connection
        self._errors: tuple[type[Exception], ...] = (*errors, OSError)
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        self._free = threading.Semaphore(CONNECTIONS)

    def run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        if not self._free.acquire(timeout=TIMEOUT_SECONDS):
            raise DatabaseError(f"all {CONNECTIONS} connections were busy for {TIMEOUT_SECONDS} s")
        try:
            connection = self._living()
            rows = self._transaction(connection, statements)
            self._idle.put(connection)
        except self._errors as error:
            raise DatabaseError(f"{type(error).__name__}: {error}") from error
        finally:
            self._free.release()
        return rows

    def _living(self) -> Any:
        """A kept connection that still answers, else a new one: a restart of the database costs no request."""
        while True:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                return self._open()
            try:
                self._transaction(connection, [("SELECT 1", ())])
            except self._errors:
                continue
            return connection

    def _transaction(self, connection: Any, statements: Sequence[Statement]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        try:
            with connection.cursor() as cursor:
                for text, values in statements:
                    cursor.execute(text, values)
                    rows = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return rows


class NoDatabase:
    """Stands in when the environment names none, so that the page can say so."""

    count_up = ""

    def run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        raise DatabaseError("DATABASE_ENGINE is not set: this site was given no database")


def connect(environ: Mapping[str, str]) -> Database:
    """The database that the environment names; connections are opened when they are needed."""
    engine = environ.get("DATABASE_ENGINE", "")
    if not engine:
        return NoDatabase()
    if engine == "mysql":
        return _mysql(environ)
    if engine == "postgresql":
        return _postgresql(environ)
    raise ValueError(f"DATABASE_ENGINE is {engine!r}; it must be mysql or postgresql")


def _mysql(environ: Mapping[str, str]) -> Database:
    driver = importlib.import_module("pymysql")

    def open_connection() -> Any:
        return driver.connect(
            host=environ["DATABASE_HOST"],
            port=int(environ["DATABASE_PORT"]),
            user=environ["DATABASE_USER"],
            password=_password(environ),
            database=environ["DATABASE_NAME"],
            ssl_ca=environ["DATABASE_CA_FILE"],
            ssl_verify_cert=True,
            ssl_verify_identity=True,
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
            write_timeout=TIMEOUT_SECONDS,
        )

    count_up = "INSERT INTO visits (member, total) VALUES (%s, 1) ON DUPLICATE KEY UPDATE total = total + 1"
    return SqlDatabase(open_connection, (driver.Error,), count_up)


def _postgresql(environ: Mapping[str, str]) -> Database:
    driver = importlib.import_module("psycopg2")

    def open_connection() -> Any:
        return driver.connect(
            host=environ["DATABASE_HOST"],
            port=int(environ["DATABASE_PORT"]),
            user=environ["DATABASE_USER"],
            password=_password(environ),
            dbname=environ["DATABASE_NAME"],
            sslmode="verify-full",
            sslrootcert=environ["DATABASE_CA_FILE"],
            connect_timeout=TIMEOUT_SECONDS,
            options=f"-c statement_timeout={TIMEOUT_SECONDS}s",
        )

    count_up = (
        "INSERT INTO visits (member, total) VALUES (%s, 1) "
        "ON CONFLICT (member) DO UPDATE SET total = visits.total + 1"
    )
    return SqlDatabase(open_connection, (driver.Error,), count_up)


def _password(environ: Mapping[str, str]) -> str:
    return Path(environ["DATABASE_PASSWORD_FILE"]).read_text(encoding="utf-8")
