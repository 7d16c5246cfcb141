"""The rights of a managed database's user: what the cloud gave too much is taken, what it did not give is given."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fleet import commands, database_rights

# As MySQL and MariaDB list them.
AS_MADE = [
    "GRANT SELECT, INSERT, CREATE USER ON *.* TO `site1`@`%` WITH GRANT OPTION",
    "GRANT `doadmin_role`@`%` TO `site1`@`%`",
]
NARROWED = [
    "GRANT USAGE ON *.* TO `site1`@`%` IDENTIFIED BY PASSWORD '*00'",
    "GRANT SELECT, INSERT ON `site`.* TO `site1`@`%`",
]
TOLD: dict[str, Any] = {
    "host": "private-db",
    "port": 25060,
    "database": "site",
    "authority": "-----BEGIN CERTIFICATE-----\n",
    "administrator": {"name": "doadmin", "password": "a"},
    "user": {"name": "site1", "password": "b"},
}


def test_a_new_mysql_user_may_do_everything_and_is_narrowed() -> None:
    first, second = database_rights.mysql_statements(AS_MADE, "site", "site1")
    assert first == "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'site1'@'%'"
    assert second.endswith("ON `site`.* TO 'site1'@'%'")
    assert "CREATE USER" not in second


def test_of_a_mysql_user_that_is_narrow_already_nothing_is_taken_while_it_works() -> None:
    (only,) = database_rights.mysql_statements(NARROWED, "site", "site1")
    assert only.startswith("GRANT SELECT, INSERT, UPDATE")


def test_everything_in_postgresql_belongs_to_a_role_that_the_next_user_acts_as_too() -> None:
    statements = list(database_rights.postgresql_statements(["doadmin", "site1"], "site", "site1"))
    assert statements[0] == 'CREATE ROLE "site" NOLOGIN'
    assert statements[-1] == 'GRANT "site" TO "site1"'
    again = list(
        database_rights.postgresql_statements(["doadmin", "site", "site1", "site2"], "site", "site2")
    )
    assert again == [*statements[1:-1], 'GRANT "site" TO "site2"']


class Server:
    """A driver whose server lets in at a second try, and writes down who said what."""

    class OperationalError(Exception):
        """As every driver has it."""

    def __init__(self, answers: list[str], refuses: int = 0) -> None:
        self.said: list[tuple[str, str]] = []
        self._answers = answers
        self._refuses = refuses

    def connect(self, **options: Any) -> Any:
        if self._refuses:
            self._refuses -= 1
            raise self.OperationalError("not yet")
        assert options["host"] == "private-db"
        assert options.get("sslmode") == "verify-full" or options["ssl_verify_identity"]
        return Connection(self, options["user"], self._answers)


class Connection:
    def __init__(self, server: Server, user: str, answers: list[str]) -> None:
        self._server, self._user, self._answers = server, user, answers

    def cursor(self) -> Connection:
        return self

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        """Cursors close by themselves."""

    def execute(self, statement: str) -> None:
        self._server.said.append((self._user, statement))

    def fetchall(self) -> list[tuple[str]]:
        return [(answer,) for answer in self._answers]

    def commit(self) -> None:
        self._server.said.append((self._user, "commit"))


def drive(monkeypatch: pytest.MonkeyPatch, server: Server, engine: str) -> list[tuple[str, str]]:
    monkeypatch.setitem(sys.modules, "pymysql" if engine == "mysql" else "psycopg2", cast(Any, server))
    monkeypatch.setattr(database_rights, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: None))
    database_rights.give(TOLD | {"engine": engine})
    return server.said


def test_a_cluster_that_does_not_let_the_machine_in_yet_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = drive(monkeypatch, Server(NARROWED, refuses=2), "mysql")
    assert [user for user, _ in said] == ["doadmin"] * len(said)
    assert said[-1] == ("doadmin", "commit")


def test_in_postgresql_the_user_itself_says_as_whom_it_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    said = drive(monkeypatch, Server(["doadmin", "site1"]), "postgresql")
    assert said[-2] == ("site1", "ALTER ROLE \"site1\" SET role TO 'site'")
    assert ("doadmin", "commit") in said


def test_the_command_is_a_whole_program_that_python_understands() -> None:
    """Run with a driver that is not there, it ends with that, so everything before was right."""
    line = commands.grant_rights().partition("exec ")[2]
    done = subprocess.run(
        ["sh", "-c", line],
        input=json.dumps(TOLD | {"engine": "mysql"}),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "No module named 'pymysql'" in done.stderr
    assert TOLD["user"]["password"] not in line.split()
