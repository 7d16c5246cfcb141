"""The tunnel to a database that is reached through a gateway: autossh keeps it, this says how and sees that it works.

The app knows nothing of it: the database's name, which its certificate carries, leads to this machine, where ssh listens
on the database's own port. The gateway's host key is pinned. ssh gives a session up whose gateway is silent, and autossh
opens another. Run as a program with `name` it makes the name lead here; with `check` it sees that the gateway answers
through the session, and has it opened anew when nothing comes back, as when ssh itself hangs. The database is left
out of that: it counts connections that end before a login, and shuts out who has too many.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping
from typing import Final

from fleet.config import TUNNEL_KEY, DatabaseSettings, Engine, Settings, TunnelSettings
from fleet.machine import places, units
from fleet.machine.host import Host, MachineError
from fleet.reading import ConfigError

SERVICE: Final = "flotilla-tunnel.service"
CHECK: Final = "flotilla-tunnel-check.timer"
UNITS: Final = (SERVICE, CHECK)
CREDENTIALS: Final = f"/run/credentials/{SERVICE}"
HOSTS: Final = "/etc/hosts"
# A session whose gateway says nothing for so long is given up, and autossh opens another.
ALIVE_SECONDS: Final = 5
ALIVE_MISSES: Final = 2
MONITOR: Final = "/run/flotilla-tunnel/monitor.sock"  # leads to the gateway's own sshd
SIGN_SECONDS: Final = 5.0
TRIES: Final = 3

_MARK: Final = "# the tunnel to the database"
_CONFIG: Final = """\
Host gateway
    HostName {host}
    Port {port}
    User {user}
    HostKeyAlias gateway
    HostKeyAlgorithms {algorithms}
    UserKnownHostsFile {credentials}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    IdentityFile {credentials}/tunnel-key
    IdentitiesOnly yes
    PreferredAuthentications publickey
    BatchMode yes
    ConnectTimeout 5
    ServerAliveInterval {alive}
    ServerAliveCountMax {misses}
    ExitOnForwardFailure yes
    LocalForward 127.0.0.1:{database_port} {database_host}:{database_port}
    StreamLocalBindUnlink yes
    LocalForward {monitor} localhost:{port}
"""
# An RSA key signs by SHA-2 alone: https://www.openssh.com/txt/release-8.8
_ALGORITHMS: Final = {"ssh-rsa": "rsa-sha2-512,rsa-sha2-256"}
# What asks a server whether it speaks TLS, and the servers' first byte: MariaDB greets by itself.
# https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-SSLREQUEST
_KNOCK: Final[Mapping[Engine, bytes]] = {
    "mysql": b"",
    "postgresql": bytes.fromhex("0000000804d2162f"),
}


def render(database: DatabaseSettings | None) -> dict[str, str]:
    """Files of a bundle below `tunnel/`; none without a tunnel."""
    if database is None or database.tunnel is None:
        return {}
    gateway: TunnelSettings = database.tunnel
    kind = gateway.host_key.split()[0]
    config = _CONFIG.format(
        host=gateway.host,
        port=gateway.port,
        user=gateway.user,
        algorithms=_ALGORITHMS.get(kind, kind),
        credentials=CREDENTIALS,
        alive=ALIVE_SECONDS,
        misses=ALIVE_MISSES,
        monitor=MONITOR,
        database_host=database.host,
        database_port=database.port,
    )
    return {"tunnel/ssh_config": config, "tunnel/known_hosts": f"gateway {gateway.host_key}\n"}


def name(host: Host, settings: Settings) -> None:
    """The database's name leads to the tunnel, or where it led before when there is none."""
    before = host.read(HOSTS) or ""
    lines = [line for line in before.splitlines() if not line.endswith(_MARK)]
    if settings.database and settings.database.tunnel:
        lines.append(f"127.0.0.1 {settings.database.host} {_MARK}")
    after = "\n".join(lines) + "\n"
    if after != before:
        host.write(HOSTS, after, 0o644)


def follow(host: Host, settings: Settings, changed: frozenset[str]) -> list[str]:
    """Make name and units follow the bundle in force; returns in words what was done."""
    ours = any(file.startswith("tunnel/") or file == f"secrets/{TUNNEL_KEY}" for file in changed)
    wanted = settings.database is not None and settings.database.tunnel is not None
    if not wanted and not ours:
        return []
    name(host, settings)
    return units.follow(host, UNITS, wanted=wanted, changed=ours)


def sign_of_life(database: DatabaseSettings) -> str | None:
    """None when the database answers through the tunnel, else why not."""
    try:
        with socket.create_connection(("127.0.0.1", database.port), timeout=SIGN_SECONDS) as plain:
            try:
                plain.sendall(_KNOCK[database.engine])
                first = plain.recv(1)
            except ConnectionError:
                first = b""
    except OSError as error:
        return f"the tunnel on port {database.port} does not answer: {error}"
    return None if first else f"the gateway cannot reach {database.host}:{database.port}"


def check(host: Host) -> str:
    """Open the tunnel anew when it takes connections and nothing comes back; returns how it fares."""
    for _ in range(TRIES):
        try:
            with socket.socket(socket.AF_UNIX) as plain:
                plain.settimeout(SIGN_SECONDS)
                plain.connect(str(host.path(MONITOR)))
                # A gateway that lets members reach nothing but the database ends this at once, and so answers too.
                plain.recv(1)
        except TimeoutError:
            continue
        except OSError as error:
            return f"there is no session, autossh opens one: {error}"
        return "the gateway answers"
    units.act(host, "restart", SERVICE)
    return f"nothing came back within {SIGN_SECONDS:g} s, {TRIES} times: opened anew"


def main() -> int:
    host = Host()
    try:
        if sys.argv[1:] == ["name"]:
            name(host, Settings.from_json(host.read(places.SETTINGS) or "{}"))
        elif sys.argv[1:] == ["check"]:
            print(check(host))
        else:
            raise ConfigError(f"give `name` or `check`, not {json.dumps(sys.argv[1:])}")
    except (ConfigError, MachineError, OSError) as error:
        print(f"flotilla-tunnel: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
