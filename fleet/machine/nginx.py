"""The part of nginx's configuration that depends on the bundle."""

from __future__ import annotations

from typing import Final

from fleet.config import Settings
from fleet.machine import places

_CLIENTS: Final = """\
# Only the edge proves itself with a certificate of our authority; the machine may ask itself without one.
map "$realip_remote_addr $ssl_client_verify" $refused {
    default 1;
    "~ SUCCESS$" 0;
    "127.0.0.1 NONE" 0;
    "::1 NONE" 0;
}
"""

_SITE: Final = """\
# Whoever names no host of ours learns nothing: no certificate without a known name, no answer without a known Host.
server {{
{listen_default}
    server_name _;
    ssl_reject_handshake on;
    return 421;
}}

server {{
{listen}
    http2 on;
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
        # A lame duck still answers, and then ends the connection: see fleet/machine/drain.py.
        error_page 418 = @lame_duck;
        if (-f {lame_duck}) {{ return 418; }}
        proxy_pass http://app;
    }}

    location @lame_duck {{
        keepalive_timeout 0;
        proxy_pass http://app;
    }}
}}
"""


def render(settings: Settings, *, ipv6: bool, certificate: str, key: str) -> dict[str, str]:
    """Files below `nginx/` of a bundle. `certificate` and `key` are paths on the machine."""
    pull_ca = f"{places.CURRENT}/nginx/origin-pull-ca.pem"
    verify = [
        f"ssl_client_certificate {pull_ca};",
        "ssl_verify_client optional;",
        "if ($refused) { return 444; }",
    ]
    site = _SITE.format(
        listen_default=_listen("ssl default_server", ipv6),
        listen=_listen("ssl", ipv6),
        names=" ".join(settings.server_names),
        certificate=certificate,
        key=key,
        verify="".join(f"    {line}\n" for line in verify) if settings.origin_pull_ca else "",
        lame_duck=places.LAME_DUCK,
    )
    files = {
        "nginx/site.conf": (_CLIENTS if settings.origin_pull_ca else "") + site,
        "nginx/client-address.conf": _client_address(settings),
    }
    if settings.origin_pull_ca:
        files["nginx/origin-pull-ca.pem"] = settings.origin_pull_ca
    return files


def _listen(options: str, ipv6: bool) -> str:
    addresses = ["443", "[::]:443"] if ipv6 else ["443"]
    return "\n".join(f"    listen {address} {options};" for address in addresses)


def _client_address(settings: Settings) -> str:
    """The edge says who its client is, and only the edge is believed."""
    trusted = [f"set_real_ip_from {network};" for network in settings.edge_ranges]
    return "\n".join([*trusted, "real_ip_header CF-Connecting-IP;"]) + "\n" if trusted else ""
