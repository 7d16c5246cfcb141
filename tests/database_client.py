"""Clients of a managed database that stand where a droplet stands: its network, its resolver, its trust."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Any

from sandbox.machines import database_image
from sandbox.network.namespaces import namespace_path
from sandbox.paths import cache_root

# The image of the nodes has both clients; here it is only read. Its resolver is the cloud's own.
_ENTER = """
set -eu
root=$(mktemp -d)
mount -t overlay overlay -o "lowerdir=$LAYERS" "$root"
mount -t tmpfs tmpfs "$root/tmp"
mount -t devtmpfs devtmpfs "$root/dev"
printf '%s' "$CA" > "$root/tmp/ca.pem"
rmdir_later() { umount "$root/dev" "$root/tmp" "$root" && rmdir "$root"; }
trap rmdir_later EXIT
chroot "$root" "$@"
"""


@dataclass(frozen=True, slots=True)
class Login:
    """How a user reaches a cluster."""

    engine: str
    host: str
    port: int
    user: str
    password: str
    database: str
    ca: str  # PEM

    @classmethod
    def of(cls, cluster: dict[str, Any], user: dict[str, Any], ca: str, database: str = "defaultdb") -> Login:
        """Over the private address of the cluster, as the API shows both."""
        way = cluster["private_connection"]
        return cls(cluster["engine"], way["host"], way["port"], user["name"], user["password"], database, ca)


@dataclass(frozen=True, slots=True)
class DatabaseClient:
    """A client in the network of one droplet."""

    namespace: str

    def ask(self, login: Login, statements: str, *, tls: bool = True) -> subprocess.CompletedProcess[str]:
        """Run statements; output and complaint, the exit code unchecked. With TLS the server's name is verified."""
        found = database_image.find(cache_root())
        assert found is not None, "no cluster was made yet, so there is no image to take the clients from"
        variables = {
            "PATH": os.environ["PATH"],
            "LAYERS": ":".join(str(layer) for layer in reversed(found.layers)),
            "CA": login.ca,
            "MYSQL_PWD": login.password,
            "PGPASSWORD": login.password,
            "PGCONNECT_TIMEOUT": "2",
        }
        enter = ["nsenter", f"--net={namespace_path(self.namespace)}", "unshare", "--mount"]
        command = _mariadb(login, tls) if login.engine == "mysql" else _psql(login, tls)
        return subprocess.run(
            [*enter, "sh", "-c", _ENTER, "sh", *command],
            input=statements,
            env=variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def value(self, login: Login, statements: str) -> str:
        """The output of statements that must succeed."""
        done = self.ask(login, statements)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def _mariadb(login: Login, tls: bool) -> list[str]:
    trust = ["--ssl-verify-server-cert", "--ssl-ca=/tmp/ca.pem"] if tls else ["--skip-ssl"]
    return [
        *("mariadb", "--no-defaults", *trust, "--connect-timeout=2", "--batch", "--skip-column-names"),
        *(f"--host={login.host}", f"--port={login.port}", f"--user={login.user}", login.database),
    ]


def _psql(login: Login, tls: bool) -> list[str]:
    trust = "sslmode=verify-full sslrootcert=/tmp/ca.pem" if tls else "sslmode=disable"
    way = f"host={login.host} port={login.port} user={login.user} dbname={login.database} {trust}"
    return ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", way]
