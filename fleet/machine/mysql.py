"""MariaDB on a database machine."""

from __future__ import annotations

import ipaddress
from typing import Final

from fleet.config import DatabaseSettings
from fleet.machine import places
from fleet.machine.host import Clock, Host, MachineError, until

UNIT: Final = "mariadb.service"
CONFIG: Final = "/etc/mysql/mariadb.conf.d/99-flotilla.cnf"
DATA: Final = f"{places.DATA}/mysql"
CREDENTIALS: Final = f"/run/credentials/{UNIT}"
SOCKET: Final = "/run/mysqld/mysqld.sock"
START_SECONDS: Final = 120.0
# What a site does to its own database, its schema included; nothing of the server.
RIGHTS: Final = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, REFERENCES, CREATE TEMPORARY TABLES, LOCK TABLES"


def buffer_pool_mib(memory_kib: int) -> int:
    """A fifth of the memory, as the machine also holds the system and connections; never more than 1 GiB."""
    return max(24, min(1024, memory_kib // 1024 // 5))


def configuration(address: str, port: int, memory_kib: int) -> str:
    return f"""\
# Written by flotilla-receive.
[mariadbd]
datadir = {DATA}
bind-address = {address}
port = {port}
skip-name-resolve
require-secure-transport = ON
tls-version = TLSv1.2,TLSv1.3
ssl-ca = {CREDENTIALS}/database-ca.pem
ssl-cert = {CREDENTIALS}/database-server.crt
ssl-key = {CREDENTIALS}/database-server.key
local-infile = OFF
character-set-server = utf8mb4
performance-schema = OFF
innodb-buffer-pool-size = {buffer_pool_mib(memory_kib)}M
innodb-log-buffer-size = 4M
innodb-log-file-size = 48M
key-buffer-size = 1M
aria-pagecache-buffer-size = 4M
query-cache-type = OFF
query-cache-size = 0
max-connections = 150
table-open-cache = 400
thread-cache-size = 8
"""


def prepare(host: Host, configured: str) -> bool:
    """Lay configuration and an empty data directory; True when the server has to be restarted for it."""
    if not host.path(f"{DATA}/mysql").exists():
        host.must("install", "--directory", "--owner=mysql", "--group=mysql", "--mode=0700", DATA)
        host.must(
            "mariadb-install-db", "--user=mysql", f"--datadir={DATA}", "--skip-test-db", "--no-defaults",
            "--auth-root-authentication-method=socket", timeout=180,
        )  # fmt: skip
    if host.read(CONFIG) == configured:
        return False
    host.write(CONFIG, configured, 0o644)
    return True


def ensure_user(host: Host, clock: Clock, database: DatabaseSettings, network: str, password: str) -> None:
    """The database and its one user, who comes from the VPC by TLS only."""
    if until(lambda: _answers(host), timeout=START_SECONDS, clock=clock) is None:
        raise MachineError(f"MariaDB does not answer on {SOCKET}; see `journalctl -u {UNIT}`")
    host.must(
        "mariadb",
        "--no-defaults",
        f"--socket={SOCKET}",
        "--batch",
        feed=statements(database, network, password),
    )


def statements(database: DatabaseSettings, network: str, password: str) -> str:
    """SQL that can be run any number of times."""
    vpc = ipaddress.IPv4Network(network)
    user = f"'{database.user}'@'{vpc.network_address}/{vpc.netmask}'"
    secret = password.replace("\\", "\\\\").replace("'", "''")
    return "".join(
        f"{statement};\n"
        for statement in (
            f"CREATE DATABASE IF NOT EXISTS `{database.name}`",
            f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{secret}' REQUIRE SSL",
            f"ALTER USER {user} IDENTIFIED BY '{secret}' REQUIRE SSL",
            f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}",
            f"GRANT {RIGHTS} ON `{database.name}`.* TO {user}",
        )
    )


def ask(host: Host, database: DatabaseSettings, password: str) -> str | None:
    """Log in as the site does, by TLS with the authority checked; the reason when that fails."""
    result = host.run(
        "mariadb", "--no-defaults", f"--host={database.host}", f"--port={database.port}", f"--user={database.user}",
        f"--ssl-ca={places.SECRETS}/database-ca.pem", "--ssl-verify-server-cert", "--connect-timeout=5",
        "--batch", "--execute=SELECT 1", database.name,
        timeout=10, env={"MYSQL_PWD": password},
    )  # fmt: skip
    return None if result.code == 0 else result.error.strip()


def _answers(host: Host) -> bool | None:
    asked = host.run(
        "mariadb-admin", "--no-defaults", f"--socket={SOCKET}", "--connect-timeout=2", "ping", timeout=5
    )
    return True if asked.code == 0 else None
