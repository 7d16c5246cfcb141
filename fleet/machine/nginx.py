"""The part of nginx's configuration that depends on the bundle."""

from __future__ import annotations

from typing import Final

from fleet.config import Settings
from fleet.machine import failover, fence_status, places

LOCAL_PORT: Final = 8100  # the site as 443 serves it, for this machine itself: no TLS, no client certificate

_VISITS: Final = """\
# A visitor's request leaves a line when it is finished; health checks leave none, and neither does who is turned
# away. flotilla-drain and the fence rely on it.
map "$refused $uri" $visit {{
    default 0;
    "~^0 " 1;
{checks}
}}
"""

# One connection per request to a socket on the same machine: none can turn stale when the app restarts.
_OWN: Final = f"""\
upstream own {{
    server {failover.APP} fail_timeout=0;
}}
"""

_ALONE: Final = """\
map "" $app {
    default own;
}
"""

# A peer is asked once, and only for what it may be asked: of requests that change something (POST) those that the own
# app has not got, of others also those that it failed. How the own app fares is its own answer, and nobody else's.
_WITH_PEERS: Final = f"""\
upstream app {{{{
    server {failover.APP} max_fails=0;
    server unix:{failover.SOCKET} backup max_fails=0;
}}}}
map "$server_port $uri" $app {{{{
    default app;
    "~^{LOCAL_PORT} " own;
{{checks}}
}}}}
proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504;
proxy_next_upstream_tries 2;
"""

_PEERS: Final = """\
# The members tell each other how they are, over the private network only.
geo $realip_remote_addr $stranger {{
    default 1;
    {network} 0;
    127.0.0.1 0;
}}
server {{
    listen {port};
    access_log off;
    keepalive_timeout 0;
    if ($stranger) {{ return 444; }}

    location = {status_path} {{
        alias {status_file};
        add_header Cache-Control no-store;
    }}

    location = {ready_path} {{
        proxy_set_header Host {name};
        proxy_set_header X-Forwarded-Proto https;
        proxy_pass http://own{ready};
    }}

    location / {{
        return 404;
    }}
}}
"""

_CLIENTS: Final = """\
# Only the edge proves itself with a certificate of our authority; the machine may ask itself without one.
map "$server_port $ssl_client_verify" $refused {{
    default 1;
    "443 SUCCESS" 0;
    "{local} " 0;
}}
"""

_ANYONE: Final = """\
map "" $refused {
    default 0;
}
"""

# Who shows no certificate is turned away in the handshake; who shows a wrong one, or sends what is no request,
# before anything is answered. HTTP/2 has a server speak first, so it is not offered.
_VERIFY: Final = """\
    ssl_client_certificate {ca};
    ssl_verify_client on;
    ssl_verify_depth 2;
    ssl_conf_command VerifyMode Require;
    error_page 400 405 408 411 413 414 494 495 496 497 501 505 /refused;
    error_page 421 /foreign;
    if ($refused) {{ return 444; }}

    location = /refused {{
        internal;
        return 400;
    }}

    location = /foreign {{
        internal;
        return 444;
    }}
"""

_SITE: Final = """\
# Whoever names no host of ours learns nothing: no certificate without a known name, no answer without a known Host.
server {{
{listen_default}
    server_name _;
    access_log off;
    ssl_reject_handshake on;
{foreign}
}}

server {{
{listen}
    listen 127.0.0.1:{local};
    http2 {http2};
    server_name {names};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
{verify}
    location = /healthz {{
        keepalive_timeout 0;
        default_type text/plain;
        return 200 "ok\\n";
    }}

    location / {{
        # A lame duck still answers, and then ends the connection: see fleet/machine/drain.py and fence.py.
        error_page 418 = @lame_duck;
        if (-f {lame_duck}) {{ return 418; }}
        if (-f {fenced}) {{ return 418; }}
        proxy_pass http://$app;
    }}

    location @lame_duck {{
        keepalive_timeout 0;
        proxy_pass http://$app;
    }}
}}
"""

# Without our authority a stranger is answered as HTTP has it; with it, not at all.
_MISDIRECTED: Final = "    return 421;"
_SILENT: Final = """\
    error_page 400 405 408 411 413 414 421 494 495 496 497 501 505 /foreign;
    return 444;
    location = /foreign {
        internal;
        return 444;
    }"""


# With a variable in its path nginx reads the file at each handshake: a new certificate needs no reload, which would
# cut idle connections. One file for both, so that they cannot differ for longer than it takes to read it.
FROM_FILE: Final = "$site_certificate"
_CERTIFICATE: Final = f"""\
map $ssl_server_name $site_certificate {{
    default {places.SITE_CERTIFICATE};
}}
"""


def visited_name(settings: Settings) -> str:
    """A host name of the site that one can ask for."""
    return settings.server_names[0].replace("*", "www")


def render(
    settings: Settings, *, network: str, ipv6: bool, certificate: str, key: str, with_peers: bool = False
) -> dict[str, str]:
    """Files below `nginx/` of a bundle. `network` is the VPC's range, `certificate` and `key` paths on the machine,
    or FROM_FILE both; `with_peers`: they are asked for what the own app failed."""
    guarded = bool(settings.origin_pull_ca)
    site = _SITE.format(
        listen_default=_listen("ssl default_server", ipv6),
        listen=_listen("ssl", ipv6),
        local=LOCAL_PORT,
        http2="off" if guarded else "on",
        foreign=_SILENT if guarded else _MISDIRECTED,
        names=" ".join(settings.server_names),
        certificate=certificate,
        key=key,
        verify=_VERIFY.format(ca=f"{places.CURRENT}/nginx/origin-pull-ca.pem") if guarded else "",
        lame_duck=places.LAME_DUCK,
        fenced=places.FENCE_LAME_DUCK,
    )
    checks = sorted({"/healthz", settings.live_path, settings.ready_path})
    visits = _VISITS.format(checks="\n".join(f'    "0 {path}" 0;' for path in checks))
    own = "\n".join(f'    "443 {path}" own;' for path in checks)
    app = _OWN + (_WITH_PEERS.format(checks=own) if with_peers else _ALONE)
    shared = (_CLIENTS.format(local=LOCAL_PORT) if guarded else _ANYONE) + visits + _peers(settings, network)
    files = {"nginx/site.conf": _CERTIFICATE + app + shared + site}
    if guarded:
        files["nginx/origin-pull-ca.pem"] = settings.origin_pull_ca
    return files


def _peers(settings: Settings, network: str) -> str:
    return _PEERS.format(
        network=network,
        port=fence_status.PORT,
        status_path=fence_status.PATH,
        status_file=places.FENCE_STATUS,
        ready_path=fence_status.READY_PATH,
        ready=settings.ready_path,
        name=visited_name(settings),
    )


def _listen(options: str, ipv6: bool) -> str:
    addresses = ["443", "[::]:443"] if ipv6 else ["443"]
    return "\n".join(f"    listen {address} {options};" for address in addresses)
