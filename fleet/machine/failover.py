"""Peer failover: what the own app failed is asked of another member, over the private network.

An nginx of its own does it, so that a change among the peers, which comes often, never reloads the one that holds the
visitors' connections. It has two sides. Towards this member it is a socket that the visitors' nginx tries when the app
fails: fleet/machine/nginx.py says when. Towards the peers it is port 8102, where a member, and nobody else, gets
this member's app. What comes in there is never handed on, so a request goes round once at most.

Run as a program it writes that nginx's configuration anew; an nginx that runs keeps what it has when it is told of one
that is wrong.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from typing import Final

from fleet.machine import barrier, peers, places, units
from fleet.machine.description import load_machine
from fleet.machine.host import Host, MachineError
from fleet.reading import ConfigError

SERVICE: Final = "flotilla-failover.service"
FOLLOWER: Final = "flotilla-failover.path"  # reloads it when the list of peers changes
UNITS: Final = (SERVICE, FOLLOWER)
PORT: Final = barrier.FAILOVER_PORT
PLACE: Final = "/run/flotilla-failover"
SCRATCH: Final = "/var/lib/flotilla-failover"  # bodies that are too long for memory
SOCKET: Final = f"{PLACE}/peers.sock"
CONFIGURATION: Final = f"{PLACE}/nginx.conf"
CREDENTIALS: Final = f"/run/credentials/{SERVICE}"
APP: Final = "unix:/run/flotilla-app.sock"
PEER_NAME: Final = "member.flotilla.internal"  # on every member's certificate: fleet/identity.py

# A peer that is dead does not answer at all; one that is fenced refuses at once.
CONNECT_SECONDS: Final = 1
# How many peers are dialled for one request before it counts as failed.
DIALLED: Final = 3
_OPTIONS: Final = "max_fails=1 fail_timeout=2s"

_CONFIGURATION: Final = """\
worker_processes 1;
pid {here}/nginx.pid;
error_log stderr warn;

events {{
    worker_connections 2048;
}}

http {{
    access_log off;
    server_tokens off;
    default_type application/octet-stream;
    client_max_body_size 32m;
    large_client_header_buffers 4 16k;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    ssl_session_cache shared:peers:1m;
    proxy_http_version 1.1;
    # All other headers are those that the visitors' nginx has set.
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    proxy_read_timeout 65s;
    upstream app {{
        server {app} max_fails=0;
    }}
{others}
    server {{
        listen unix:{socket};
        keepalive_timeout 0;
        location / {{
            proxy_pass {target};
            proxy_connect_timeout {connect}s;
            # Another peer only for what this one cannot have answered; what its app says is the answer.
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries {dialled};
            proxy_next_upstream_timeout {patience}s;
            proxy_ssl_certificate {credentials}/peer.crt;
            proxy_ssl_certificate_key {credentials}/peer.key;
            proxy_ssl_trusted_certificate {credentials}/peer-ca.pem;
            proxy_ssl_verify on;
            proxy_ssl_name {name};
            proxy_ssl_server_name on;
            proxy_ssl_protocols TLSv1.3;
        }}
    }}

    server {{
        listen {port} ssl;
        keepalive_timeout 0;
        ssl_certificate {credentials}/peer.crt;
        ssl_certificate_key {credentials}/peer.key;
        ssl_client_certificate {credentials}/peer-ca.pem;
        ssl_verify_client on;
        ssl_conf_command VerifyMode Require;
        # The edge has a certificate of the same authority.
        if ($ssl_client_s_dn != "CN={name}") {{ return 444; }}
        location / {{
            proxy_pass http://app;
            proxy_next_upstream off;
        }}
    }}
}}
"""


def render(own: str, members: Mapping[str, str]) -> str:
    """The configuration: `members` are private addresses by slot, this member's slot being `own`. Without peers the own
    app is simply asked once more."""
    others = [f"        server {_dialled(members[slot])} {_OPTIONS};" for slot in members if slot != own]
    upstream = "\n".join(["    upstream peers {", *others, "    }"]) if others else ""
    return _CONFIGURATION.format(
        here=PLACE,
        scratch=SCRATCH,
        app=APP,
        others=upstream,
        socket=SOCKET,
        target="https://peers" if others else "http://app",
        connect=CONNECT_SECONDS,
        dialled=DIALLED,
        patience=CONNECT_SECONDS * DIALLED,
        credentials=CREDENTIALS,
        name=PEER_NAME,
        port=PORT,
    )


def _dialled(address: str) -> str:
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    return f"{host}:{PORT}"


def write(host: Host) -> str:
    """Write the configuration for the peers as they are now listed; returns in words what it says."""
    machine = load_machine(host)
    text = host.read(places.PEERS)
    try:
        members = peers.parse(text, machine.network) if text else {}
    except ConfigError:
        if host.path(CONFIGURATION).exists():
            raise  # the last good peers stay
        members = {}
    host.write(CONFIGURATION, render(machine.slot, members), 0o644)
    return f"peers: {', '.join(slot for slot in members if slot != machine.slot) or 'none'}"


def follow(host: Host, *, wanted: bool, changed: bool) -> list[str]:
    """Make its units run when they are `wanted`, with what members show each other, which has `changed` or not."""
    if not wanted and not changed:
        return []
    return [
        *units.follow(host, [SERVICE], wanted=wanted, changed=changed),
        *units.follow(host, [FOLLOWER], wanted=wanted, changed=False),
    ]


def main() -> int:
    try:
        print(write(Host()))
    except (ConfigError, MachineError, OSError) as error:
        print(f"flotilla-failover: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
