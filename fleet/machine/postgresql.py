"""PostgreSQL on a database machine."""

from __future__ import annotations

from typing import Final

from fleet.config import DatabaseSettings
from fleet.machine import places
from fleet.machine.host import Clock, Host, MachineError, until

VERSION: Final = "17"  # Debian 13's
UNIT: Final = f"postgresql@{VERSION}-main.service"
CONFIG: Final = f"/etc/postgresql/{VERSION}/main"
DATA: Final = f"{places.DATA}/postgresql/{VERSION}/main"
TLS: Final = (
    "/etc/flotilla/postgresql"  # PostgreSQL reads its key as its own user, after systemd let go of it
)
START_SECONDS: Final = 120.0


def configuration(address: str, port: int, memory_kib: int) -> str:
    """What goes to conf.d. A quarter of the memory as buffers is the manual's advice for a dedicated server:
    https://www.postgresql.org/docs/17/runtime-config-resource.html"""
    buffers = max(16, min(1024, memory_kib // 1024 // 5))
    return f"""\
# Written by flotilla-receive.
listen_addresses = '{address}'
port = {port}
ssl = on
ssl_min_protocol_version = 'TLSv1.2'
ssl_ca_file = '{TLS}/database-ca.pem'
ssl_cert_file = '{TLS}/database-server.crt'
ssl_key_file = '{TLS}/database-server.key'
password_encryption = 'scram-sha-256'
shared_buffers = {buffers}MB
max_connections = 100
"""


def access(database: DatabaseSettings, network: str) -> str:
    """pg_hba.conf: the system user postgres here, the site's user from the VPC by TLS; nobody else."""
    return f"""\
# Written by flotilla-receive.
local all postgres peer
hostssl {database.name} {database.user} {network} scram-sha-256
"""


def prepare(host: Host, secrets: dict[str, str], configured: str, rules: str) -> bool:
    """Lay configuration, key and an empty cluster; True when the server has to be restarted for it."""
    if not host.path(f"{CONFIG}/postgresql.conf").exists():
        host.must(
            "install",
            "--directory",
            "--owner=postgres",
            "--group=postgres",
            "--mode=0755",
            f"{places.DATA}/postgresql",
        )
        # Takes over the data directory of an earlier machine when the volume has one.
        host.must("pg_createcluster", "--datadir", DATA, VERSION, "main", timeout=180)
    host.path(TLS).mkdir(parents=True, exist_ok=True, mode=0o755)
    wanted = {
        f"{TLS}/{name}": (secrets[name], 0o640) for name in secrets if name.startswith("database-server")
    }
    wanted[f"{TLS}/database-ca.pem"] = (secrets["database-ca.pem"], 0o644)
    wanted[f"{CONFIG}/conf.d/flotilla.conf"] = (configured, 0o644)
    wanted[f"{CONFIG}/pg_hba.conf"] = (rules, 0o640)
    changed = False
    for path, (text, mode) in wanted.items():
        if host.read(path) != text:
            host.write(path, text, mode)
            if mode == 0o640:
                host.must("chgrp", "postgres", str(host.path(path)))
            changed = True
    return changed


def ensure_user(host: Host, clock: Clock, database: DatabaseSettings, password: str) -> None:
    """The database and its one user, who owns it."""
    if until(lambda: _answers(host, database.port), timeout=START_SECONDS, clock=clock) is None:
        raise MachineError(f"PostgreSQL does not answer; see `journalctl -u {UNIT}`")
    host.must(
        "runuser", "-u", "postgres", "--", "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1",
        f"--port={database.port}", "--dbname=postgres", feed=statements(database, password),
    )  # fmt: skip


def statements(database: DatabaseSettings, password: str) -> str:
    """SQL for psql that can be run any number of times; the password stays out of the server's log."""
    user, name, secret = f'"{database.user}"', f'"{database.name}"', password.replace("'", "''")
    # Names fit the schema's pattern for identifiers, and the password is quoted.
    return f"""\
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET standard_conforming_strings = on;
SELECT 'CREATE ROLE {user}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{database.user}') \\gexec
ALTER ROLE {user} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD '{secret}';
SELECT 'CREATE DATABASE {name} OWNER {user}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{database.name}') \\gexec
REVOKE ALL ON DATABASE {name} FROM PUBLIC;
"""  # noqa: S608


def ask(host: Host, database: DatabaseSettings, password: str) -> str | None:
    """Log in as the site does, by TLS with the authority checked; the reason when that fails."""
    result = host.run(
        "psql", "--no-psqlrc", f"--host={database.host}", f"--port={database.port}", f"--username={database.user}",
        "--no-password", "--command=SELECT 1", f"--dbname={database.name}",
        timeout=10,
        env={
            "PGPASSWORD": password, "PGSSLMODE": "verify-full", "PGCONNECT_TIMEOUT": "5",
            "PGSSLROOTCERT": f"{places.SECRETS}/database-ca.pem",
        },
    )  # fmt: skip
    return None if result.code == 0 else result.error.strip()


def _answers(host: Host, port: int) -> bool | None:
    asked = host.run("runuser", "-u", "postgres", "--", "pg_isready", "--quiet", f"--port={port}", timeout=5)
    return True if asked.code == 0 else None
