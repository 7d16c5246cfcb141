"""The two engines: how each is asked, and what it is told so that it has a cluster's users and databases. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from sandbox.api.databases_port import ClusterSpec, DatabaseAccount
from sandbox.clusters.record import ClusterRecord

# Of a node: sockets, and what the driver gives the server to read.
FILES = "/run/managed-database"
_PORT = 25060

# Everything that a cluster's administrator may do; in the real service, too, no file and no server is his.
# https://docs.digitalocean.com/products/databases/mysql/how-to/modify-user-privileges/
_MYSQL_PRIVILEGES = (
    *("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "RELOAD", "PROCESS", "REFERENCES", "INDEX"),
    *("ALTER", "SHOW DATABASES", "CREATE TEMPORARY TABLES", "LOCK TABLES", "EXECUTE", "CREATE VIEW"),
    *("SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "CREATE USER", "EVENT", "TRIGGER"),
)
_PG_ADMINISTRATOR = "CREATEDB CREATEROLE REPLICATION BYPASSRLS"


class Engine(Protocol):
    """One database program."""

    @property
    def unit(self) -> str:
        """The systemd unit that serves on the primary."""

    @property
    def client(self) -> tuple[str, ...]:
        """The command on the node that runs statements from its standard input as the engine's superuser."""

    def sized(self, memory_mib: int) -> str:
        """The part of its configuration that depends on the size of the node."""

    def statements(self, spec: ClusterSpec, before: ClusterRecord) -> str:
        """From what was made `before` to what the cluster should have. Repeating them changes nothing."""


@dataclass(frozen=True, slots=True)
class MariaDb:
    """MariaDB for `mysql`. It has none of MySQL's caching_sha2_password: every user gets the native plugin."""

    unit: str = "managed-mysql.service"
    client: tuple[str, ...] = ("mariadb", "--no-defaults", f"--socket={FILES}/mysql.sock", "--batch")

    def sized(self, memory_mib: int) -> str:
        """https://docs.digitalocean.com/products/databases/mysql/details/limits/"""
        return f"[mysqld]\nmax_connections = {75 * memory_mib // 1024}\n"

    def statements(self, spec: ClusterSpec, before: ClusterRecord) -> str:
        lines = ["SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES';"]
        for name in _gone(before.databases, spec.databases):
            lines.append(f"DROP DATABASE IF EXISTS {_ticked(name)};")
        for name in spec.databases:
            lines.append(f"CREATE DATABASE IF NOT EXISTS {_ticked(name)};")
        for name in _gone(before.users, _names(spec.users)):
            lines.append(f"DROP USER IF EXISTS {_quoted(name)}@'%';")
        for user in spec.users:
            account = f"{_quoted(user.name)}@'%'"
            lines.append(f"CREATE USER IF NOT EXISTS {account};")
            lines.append(f"ALTER USER {account} IDENTIFIED BY {_quoted(user.password)};")
            # Once only: what an administrator takes from a user stays taken. The real service gives new users what
            # doadmin has: https://docs.digitalocean.com/products/databases/mysql/how-to/manage-users-and-databases/
            if user.name not in before.users:
                lines.append(f"GRANT {', '.join(_MYSQL_PRIVILEGES)} ON *.* TO {account} WITH GRANT OPTION;")
        # Until the program starts anew by itself: nothing that it keeps on its disk says so.
        lines.append(f"SET GLOBAL sql_mode = {_quoted(spec.sql_mode)};")
        lines.append(
            f"SET GLOBAL innodb_force_primary_key = {'ON' if spec.requires_primary_keys else 'OFF'};"
        )
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class PostgreSql:
    """PostgreSQL for `pg`. New users may do next to nothing, as in the real service; doadmin owns the databases."""

    unit: str = "managed-pg.service"
    client: tuple[str, ...] = (
        # Not as runuser does it: a login session would hold the node's shutdown up.
        *("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"),
        *("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"),
        *(f"--host={FILES}", f"--port={_PORT}", "--dbname=postgres", "--file=-"),
    )

    def sized(self, memory_mib: int) -> str:
        """https://docs.digitalocean.com/products/databases/postgresql/details/limits/: 3 of them are the service's own."""
        return f"max_connections = {25 * memory_mib // 1024}\nsuperuser_reserved_connections = 3\n"

    def statements(self, spec: ClusterSpec, before: ClusterRecord) -> str:
        owner = next((user.name for user in spec.users if user.primary), "postgres")
        lines: list[str] = []
        for user in sorted(spec.users, key=lambda user: not user.primary):
            lines += _role(user)
        for name in _gone(before.databases, spec.databases):
            lines.append(f"DROP DATABASE IF EXISTS {_doubled(name)} WITH (FORCE);")
        for name in spec.databases:
            made = f"CREATE DATABASE {_doubled(name)} OWNER {_doubled(owner)}"
            lines.append(_unless(f"pg_database WHERE datname = {_quoted(name)}", made))
        for name in _gone(before.users, _names(spec.users)):
            for database in spec.databases:
                lines.append(f"\\connect {_doubled(database)}")
                lines += _disowned(name, owner)
            lines += ["\\connect postgres", f"DROP ROLE IF EXISTS {_doubled(name)};"]
        return "\n".join(lines) + "\n"


ENGINES: dict[str, Engine] = {"mysql": MariaDb(), "pg": PostgreSql()}


def without_secrets(text: str, spec: ClusterSpec) -> str:
    """What an engine said, with every password of the cluster blotted out: it may quote the statement it refuses."""
    for user in spec.users:
        text = text.replace(user.password, "***") if user.password else text
    return text


def _role(user: DatabaseAccount) -> Iterable[str]:
    name = _doubled(user.name)
    made = f"CREATE ROLE {name} LOGIN {_PG_ADMINISTRATOR if user.primary else ''}".rstrip()
    yield _unless(f"pg_roles WHERE rolname = {_quoted(user.name)}", made)
    yield f"ALTER ROLE {name} PASSWORD {_quoted(user.password)};"


def _disowned(name: str, owner: str) -> Iterable[str]:
    """What the role owns here is its administrator's from now on; a role that is gone owns nothing."""
    for what in (
        f"REASSIGN OWNED BY {_doubled(name)} TO {_doubled(owner)}",
        f"DROP OWNED BY {_doubled(name)}",
    ):
        rows = f"pg_roles WHERE rolname = {_quoted(name)}"
        yield f"SELECT {_quoted(what)} FROM {rows} \\gexec"  # noqa: S608 # names are quoted


def _unless(rows: str, statement: str) -> str:
    """A statement that PostgreSQL has no IF NOT EXISTS for."""
    found = f"EXISTS (SELECT FROM {rows})"
    return f"SELECT {_quoted(statement)} WHERE NOT {found} \\gexec"  # names are quoted


def _gone(before: Iterable[str], wanted: Iterable[str]) -> list[str]:
    kept = set(wanted)
    return [name for name in before if name not in kept]


def _names(users: Iterable[DatabaseAccount]) -> list[str]:
    return [user.name for user in users]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _ticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _doubled(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
