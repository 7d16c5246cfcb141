"""Gives the user of a managed database the rights that the site needs, and no others.

The cloud gives new users of MySQL all that its administrator may do, and those of PostgreSQL next to nothing:
https://docs.digitalocean.com/products/databases/mysql/how-to/manage-users-and-databases/
https://docs.digitalocean.com/products/databases/postgresql/how-to/manage-users-and-databases/
Its API knows no rights, so they are given in SQL, by a machine that the database trusts. That may be one of which no file
of ours is there yet: its program is this file (fleet.commands.grant_rights), and the drivers are packages.

With PostgreSQL everything belongs to a role that nobody logs in as, and users act as that role: so the user that a
rotation makes finds what the one before it has made.

Standard input: JSON with engine, host, port, database, authority (PEM), and under `administrator` and `user` the name
and the password of each.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

# How long a cluster may take to let a new machine in, and a tunnel to come up.
PATIENCE_SECONDS: Final = 90.0
PAUSE_SECONDS: Final = 1.0
CONNECT_SECONDS: Final = 5
# What a site does to its own database, its schema included; as a self-hosted one gives: fleet/machine/mysql.py.
MYSQL_RIGHTS: Final = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, REFERENCES, CREATE TEMPORARY TABLES, LOCK TABLES"


def mysql_statements(grants: Sequence[str], database: str, user: str) -> Iterator[str]:
    """From the grants that the server lists of a user to those that it should have. Of a user that has no more than
    these nothing is taken for a moment, as it may be at work."""
    account = f"'{user}'@'%'"
    if any(" ON *.* " in f"{grant} " and not grant.startswith("GRANT USAGE ON ") for grant in grants):
        yield f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {account}"
    yield f"GRANT {MYSQL_RIGHTS} ON `{database}`.* TO {account}"


def postgresql_statements(roles: Sequence[str], database: str, user: str) -> Iterator[str]:
    """What the administrator says in the database itself; `roles` are those that the server has."""
    if database not in roles:
        yield f'CREATE ROLE "{database}" NOLOGIN'
    yield f'GRANT CONNECT, TEMPORARY ON DATABASE "{database}" TO "{database}"'
    yield f'GRANT USAGE, CREATE ON SCHEMA public TO "{database}"'
    yield f'GRANT "{database}" TO "{user}"'


def postgresql_own_statement(database: str, user: str) -> str:
    """What only the user itself may say: its sessions act as the role that owns everything."""
    return f"ALTER ROLE \"{user}\" SET role TO '{database}'"


def give(told: Mapping[str, Any]) -> None:
    """Raises what the driver raises when the server refuses."""
    database, user = told["database"], told["user"]["name"]
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as authority:
        authority.write(told["authority"])
        authority.flush()
        if told["engine"] == "mysql":
            driver = importlib.import_module("pymysql")
            administrator = _patiently(driver, _mysql(told, told["administrator"], authority.name))
            grants = _ask(administrator, f"SHOW GRANTS FOR '{user}'@'%'")
            _say(administrator, mysql_statements(grants, database, user))
            return
        driver = importlib.import_module("psycopg2")
        administrator = _patiently(driver, _postgresql(told, told["administrator"], authority.name))
        roles = _ask(administrator, "SELECT rolname FROM pg_roles")
        _say(administrator, postgresql_statements(roles, database, user))
        own = _patiently(driver, _postgresql(told, told["user"], authority.name))
        _say(own, [postgresql_own_statement(database, user)])


def _patiently(driver: Any, options: Mapping[str, object]) -> Any:
    """A connection, also to a cluster that does not let this machine in yet."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return driver.connect(**options)
        except driver.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def _mysql(told: Mapping[str, Any], login: Mapping[str, str], authority: str) -> dict[str, object]:
    return {
        "host": told["host"],
        "port": told["port"],
        "user": login["name"],
        "password": login["password"],
        "database": told["database"],
        "ssl_ca": authority,
        "ssl_verify_cert": True,
        "ssl_verify_identity": True,
        "connect_timeout": CONNECT_SECONDS,
    }


def _postgresql(told: Mapping[str, Any], login: Mapping[str, str], authority: str) -> dict[str, object]:
    return {
        "host": told["host"],
        "port": told["port"],
        "user": login["name"],
        "password": login["password"],
        "dbname": told["database"],
        "sslmode": "verify-full",
        "sslrootcert": authority,
        "connect_timeout": CONNECT_SECONDS,
    }


def _ask(connection: Any, question: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return [str(row[0]) for row in cursor.fetchall()]


def _say(connection: Any, statements: Iterator[str] | Sequence[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.commit()


if __name__ == "__main__":
    give(json.load(sys.stdin))
    print("the site's user has the rights that it needs")
