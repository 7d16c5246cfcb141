"""The example site, with a database module that is only played."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.visits import create_app
from app.visits.database import DatabaseError, SqlDatabase, Statement, connect

JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Memory:
    """Counts without a database; raises when it is told to."""

    count_up = "up"

    def __init__(self) -> None:
        self.total = 0
        self.broken = False

    def run(self, *statements: Statement) -> list[tuple[Any, ...]]:
        if self.broken:
            raise DatabaseError("connection refused for user site with password hush")
        self.total += sum(1 for text, _ in statements if text == "up")
        return [(self.total,)]


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def client(memory: Memory) -> FlaskClient:
    return create_app({"FLOTILLA_MEMBER": "web-1", "FLOTILLA_RELEASE": "abc"}, memory).test_client()


def test_the_counter_rises_with_every_visit(client: FlaskClient) -> None:
    assert [client.get("/", headers=JSON).get_json()["visits"] for _ in range(3)] == [1, 2, 3]


def test_the_page_shows_member_release_and_count(client: FlaskClient) -> None:
    page = client.get("/", headers=HTML)
    assert page.mimetype == "text/html"
    assert all(text in page.text for text in ("web-1", "abc", ">1<"))


def test_who_asks_for_anything_gets_the_page(client: FlaskClient) -> None:
    assert client.get("/").mimetype == "text/html"


def test_nothing_is_cached(client: FlaskClient) -> None:
    assert client.get("/").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("headers", [HTML, JSON])
def test_without_its_database_the_site_says_so_and_no_more(
    client: FlaskClient, memory: Memory, headers: dict[str, str]
) -> None:
    memory.broken = True
    answer = client.get("/", headers=headers)
    assert answer.status_code == 503
    assert "web-1" in answer.text
    assert not any(text in answer.text for text in ("hush", "Traceback", "refused"))


def test_alive_means_the_site_itself(client: FlaskClient, memory: Memory) -> None:
    memory.broken = True
    assert client.get("/livez").status_code == 200


def test_ready_means_the_database_answers(client: FlaskClient, memory: Memory) -> None:
    assert client.get("/readyz").status_code == 200
    memory.broken = True
    assert client.get("/readyz", headers=JSON).status_code == 503


def test_asking_for_readiness_is_no_visit(client: FlaskClient, memory: Memory) -> None:
    client.get("/readyz")
    assert memory.total == 0


def test_a_member_name_cannot_become_markup(memory: Memory) -> None:
    page = create_app({"FLOTILLA_MEMBER": "<script>"}, memory).test_client().get("/", headers=HTML)
    assert "<script>" not in page.text


def test_a_site_without_a_database_says_so() -> None:
    assert create_app({}).test_client().get("/").status_code == 503


def test_an_unknown_engine_is_an_error() -> None:
    with pytest.raises(ValueError, match="'oracle'; it must be mysql or postgresql"):
        connect({"DATABASE_ENGINE": "oracle"})


class DriverError(Exception):
    pass


class Connection:
    """A played DB-API connection: connection and cursor in one."""

    description = True

    def __init__(self, *, dies_at: int = 10**9) -> None:
        self.executed: list[str] = []
        self.committed = 0
        self.closed = False
        self._dies_at = dies_at

    def cursor(self) -> Connection:
        return self

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, text: str, _: Sequence[object]) -> None:
        if len(self.executed) >= self._dies_at:
            raise DriverError("gone away")
        self.executed.append(text)

    def fetchall(self) -> list[tuple[int]]:
        return [(len(self.executed),)]

    def commit(self) -> None:
        self.committed += 1

    def close(self) -> None:
        self.closed = True


def test_statements_are_one_transaction() -> None:
    connection = Connection()
    database = SqlDatabase(lambda: connection, (DriverError,), "up")
    assert database.run(("a", ()), ("b", ())) == [(2,)]
    assert connection.committed == 1


def test_a_connection_is_used_again() -> None:
    opened: list[Connection] = []

    def open_connection() -> Connection:
        opened.append(Connection())
        return opened[-1]

    database = SqlDatabase(open_connection, (DriverError,), "up")
    database.run(("a", ()))
    database.run(("b", ()))
    assert len(opened) == 1


def test_a_kept_connection_that_died_costs_no_request() -> None:
    waiting = [Connection(dies_at=1), Connection()]
    database = SqlDatabase(lambda: waiting.pop(0), (DriverError,), "up")
    database.run(("a", ()))
    assert database.run(("b", ())) == [(1,)]


def test_a_failed_transaction_closes_its_connection() -> None:
    connection = Connection(dies_at=1)
    database = SqlDatabase(lambda: connection, (DriverError,), "up")
    with pytest.raises(DatabaseError, match="DriverError: gone away"):
        database.run(("a", ()), ("b", ()))
    assert connection.closed
    assert connection.committed == 0


def test_a_database_whose_connections_are_all_busy_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.visits.database.TIMEOUT_SECONDS", 0)
    monkeypatch.setattr("app.visits.database.CONNECTIONS", 0)
    with pytest.raises(DatabaseError, match="connections were busy"):
        SqlDatabase(Connection, (DriverError,), "up").run(("a", ()))


@pytest.mark.parametrize(
    ("engine", "module", "demanded"),
    [
        ("mysql", "pymysql", {"ssl_verify_cert": True, "ssl_verify_identity": True}),
        ("postgresql", "psycopg2", {"sslmode": "verify-full"}),
    ],
)
def test_the_servers_certificate_is_always_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str, module: str, demanded: dict[str, object]
) -> None:
    given: dict[str, object] = {}

    def play(**settings: object) -> Connection:
        given.update(settings)
        return Connection()

    driver = ModuleType(module)
    driver.__dict__.update(connect=play, Error=DriverError)
    monkeypatch.setitem(sys.modules, module, driver)
    (tmp_path / "password").write_text("hush")
    environ = {
        "DATABASE_ENGINE": engine,
        "DATABASE_HOST": "10.20.0.5",
        "DATABASE_PORT": "1",
        "DATABASE_NAME": "site",
        "DATABASE_USER": "site",
        "DATABASE_PASSWORD_FILE": str(tmp_path / "password"),
        "DATABASE_CA_FILE": "/ca.pem",
    }
    connect(environ).run(("SELECT 1", ()))
    assert given["password"] == "hush"
    assert demanded.items() <= given.items()
    assert "/ca.pem" in given.values()
