"""HAProxy's configuration for a state of the edge: pure text, the same for the same input.

Two layers in one process. The outer one is what visitors meet: TLS, redirects, Cloudflare's headers. It hands
each request over a fresh local connection to the inner one, which keeps the pooled connections to the origins.
Without the inner layer HAProxy would hide a reset on a pooled connection from a visitor with a kept-alive
connection by closing it, and most clients would then silently send the request again; Cloudflare answers 520.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sandbox.edge.layout import API_HOST, EdgeLayout, PointOfPresence, Service, Timing
from sandbox.edge.slots import Slots
from sandbox.edge.state import EdgeState, Host, SslMode, Zone

ERROR_PAGES = (502, 503, 504)
ERROR_HEADER = "x-edge-error"
# An address nobody has, for the places no origin holds (RFC 5737, RFC 3849).
NOBODY = {4: "192.0.2.1", 6: "2001:db8::1"}


class SlotKey(NamedTuple):
    """One host's places at one point of presence, for one family of addresses (4 or 6)."""

    city: str
    host: str
    version: int


Views = Mapping[str, EdgeState]  # by city: what each point of presence has learnt so far
SlotTable = Mapping[SlotKey, Slots]


def backend_name(city: str, scheme: str, host: str) -> str:
    return f"{city}.{scheme}.{host.replace('*', 'ANY')}"


def server_name(version: int, place: int) -> str:
    return f"v{version}-{place + 1}"


def schemes(zone: Zone) -> tuple[str, ...]:
    """How origins of a zone are spoken to: over `tls`, `plain`, or both as the visitor came."""
    if zone.ssl in (SslMode.OFF, SslMode.FLEXIBLE):
        return ("plain",)
    return ("tls",) if zone.always_use_https else ("tls", "plain")


def certificate_list(layout: EdgeLayout, state: EdgeState) -> str:
    """The crt-list of a point of presence: one certificate per zone, with the zone's own TLS settings."""
    lines = []
    for zone in state.zones:
        least = max(zone.min_tls_version, "1.0")
        most = "1.3" if zone.tls_1_3 or least == "1.3" else "1.2"
        alpn = "h2,http/1.1" if zone.http2 else "http/1.1"
        options = f"ssl-min-ver TLSv{least} ssl-max-ver TLSv{most} alpn {alpn}"
        lines.append(f"{layout.visitors_certificate(zone.name)} [{options}] {zone.name} *.{zone.name}\n")
    if layout.api_port is not None:
        lines.append(f"{layout.visitors_certificate(API_HOST)} [ssl-min-ver TLSv1.2] {API_HOST}\n")
    return "".join(lines)


def render(layout: EdgeLayout, views: Views, slots: SlotTable, description: str) -> str:
    """The whole configuration; a running process tells its `description` to who asks."""
    return _text(layout, views, slots, description)


def structure(layout: EdgeLayout, views: Views, slots: SlotTable) -> str:
    """A digest of all but the origins' addresses: two configurations of one structure differ by those alone."""
    vacant = {key: (None,) * len(places) for key, places in slots.items()}
    text = _text(layout, views, vacant, "") + "".join(
        certificate_list(layout, views[point.city]) for point in layout.points
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _text(layout: EdgeLayout, views: Views, slots: SlotTable, description: str) -> str:
    lines = [*_global(layout, description), *_defaults(layout), *_nowhere(), *_api(layout)]
    for service in layout.services:
        lines += _service(layout, service)
    for point in layout.points:
        state = views[point.city]
        lines += [*_https(layout, point, state), *_http(layout, point, state)]
        for scheme in ("tls", "plain"):
            lines += _inside(layout, point, state, scheme)
        for zone in state.zones:
            for scheme in schemes(zone):
                for host in zone.hosts:
                    lines += _backend(layout, point, state, zone, host, scheme, slots)
    return "\n".join(lines) + "\n"


def _global(layout: EdgeLayout, description: str) -> list[str]:
    timing = layout.timing
    return [
        "global",
        f"    description {description or '-'}",
        "    maxconn 4000",
        # One thread: one pool of origin connections, and little memory.
        "    nbthread 1",
        f"    hard-stop-after {_milliseconds(timing.visitor_keepalive + timing.read)}",
        f"    stats socket {layout.socket} mode 600 level admin expose-fd listeners",
        # Cloudflare still speaks TLS 1.0 and 1.1 where a zone allows it; OpenSSL 3 does at this level only.
        "    ssl-default-bind-ciphers DEFAULT@SECLEVEL=0",
        "    ssl-default-bind-options ssl-min-ver TLSv1.0",
        "    ssl-default-server-options ssl-min-ver TLSv1.2",
        "",
        "ring failures",
        "    format rfc3164",
        "    maxlen 1000",
        "    size 131072",
        "",
    ]


def _defaults(layout: EdgeLayout) -> list[str]:
    timing = layout.timing
    return [
        "defaults",
        "    mode http",
        "    log ring@failures local0",
        "    option httplog",
        "    option dontlog-normal",
        # A reload must not cut a visitor who is about to send his next request.
        "    option idle-close-on-response",
        f"    timeout client {_milliseconds(timing.visitor_keepalive)}",
        f"    timeout http-keep-alive {_milliseconds(timing.visitor_keepalive)}",
        f"    timeout http-request {_milliseconds(timing.read)}",
        f"    timeout connect {_milliseconds(timing.connect)}",
        f"    timeout server {_milliseconds(timing.read)}",
        f"    timeout queue {_milliseconds(timing.connect)}",
        f"    timeout tunnel {_milliseconds(timing.origin_keepalive)}",
        *(f"    errorfile {status} {layout.error_page(status)}" for status in ERROR_PAGES),
        "",
    ]


def _nowhere() -> list[str]:
    """ "Error 1001: DNS resolution error": a name of no zone, or without a proxied record."""
    answer = 'return status 409 content-type text/plain string "error code: 1001"'
    return ["backend nowhere", f"    http-request {answer}", ""]


def _api(layout: EdgeLayout) -> list[str]:
    """Cloudflare's API and nothing else of the sandbox; it asks for its token by itself."""
    if layout.api_port is None:
        return []
    return [
        "backend api",
        "    http-request return status 404 unless { path_beg /client/v4/ }",
        f"    server api 127.0.0.1:{layout.api_port}",
        "",
    ]


def _service(layout: EdgeLayout, service: Service) -> list[str]:
    """A service that is not behind the edge: it sees requests as they were sent, for signatures hold of them."""
    where = f" namespace {service.namespace}" if service.namespace else ""
    certificate = f"ssl crt {layout.visitors_certificate(service.name)} ssl-min-ver TLSv1.2"
    return [
        f"frontend service.{service.name}",
        f"    bind {service.address}:{service.listen_port} {certificate}{where}",
        f"    http-request return status 404 unless {{ path_beg {service.path} }}",
        "    http-request set-header X-Forwarded-Proto https",
        f"    http-after-response del-header {ERROR_HEADER}",
        f"    default_backend service.{service.name}",
        "",
        f"backend service.{service.name}",
        f"    server inside 127.0.0.1:{service.port}",
        "",
    ]


def _https(layout: EdgeLayout, point: PointOfPresence, state: EdgeState) -> list[str]:
    binds = [
        f"    bind {address} ssl crt-list {layout.certificate_list(point)} strict-sni"
        for address in _listens(layout, point, point.https_port, 443)
    ]
    lines = [f"frontend {point.city}.https", *binds, *_visitor(point, state, "https")]
    if layout.api_port is not None:
        lines.append(f"    use_backend api if {{ ssl_fc_sni,lower -m str {API_HOST} }}")
    for number, zone in enumerate(state.zones):
        # A host name of another zone than the handshake's is domain fronting.
        lines.append(f"    acl sni{number} ssl_fc_sni,lower -m str {zone.name}")
        lines.append(f"    acl sni{number} ssl_fc_sni,lower -m end .{zone.name}")
        lines.append(f"    http-request return status 403 if zone{number} !sni{number}")
        if zone.ssl is SslMode.OFF:
            lines += _redirect("http", point.http_port, f"zone{number}")
        elif zone.ssl is SslMode.FLEXIBLE:
            lines.append(f"    use_backend {point.city}.to-plain if zone{number}")
    return [*lines, f"    default_backend {point.city}.to-tls", ""]


def _http(layout: EdgeLayout, point: PointOfPresence, state: EdgeState) -> list[str]:
    binds = [f"    bind {address}" for address in _listens(layout, point, point.http_port, 80)]
    lines = [f"frontend {point.city}.http", *binds, *_visitor(point, state, "http")]
    for number, zone in enumerate(state.zones):
        if zone.always_use_https and zone.ssl is not SslMode.OFF:
            lines += _redirect("https", point.https_port, f"zone{number}")
    return [*lines, f"    default_backend {point.city}.to-plain", ""]


def _visitor(point: PointOfPresence, state: EdgeState, scheme: str) -> Iterator[str]:
    """What both of a point's doors do: find the zone, and tell origin and visitor what Cloudflare tells them.

    Headers: https://developers.cloudflare.com/fundamentals/reference/http-headers/
    """
    yield "    http-request set-var(txn.host) req.hdr(host),field(1,:),lower"
    yield f"    http-request set-var-fmt(txn.ray) %[uuid(4),regsub(-,,g),bytes(0,16)]-{point.city}"
    for number, zone in enumerate(state.zones):
        yield f"    acl zone{number} var(txn.host) -m str {zone.name}"
        yield f"    acl zone{number} var(txn.host) -m end .{zone.name}"
    yield "    http-after-response set-header server cloudflare"
    yield "    http-after-response set-header cf-ray %[var(txn.ray)]"
    yield "    http-after-response set-header cf-cache-status DYNAMIC if { status lt 500 }"
    yield "    http-request return status 405 if { method CONNECT TRACE }"
    yield "    http-request del-header cf- -m beg"
    yield "    http-request set-header CF-Connecting-IP %[src]"
    yield "    http-request add-header X-Forwarded-For %[src]"
    yield f"    http-request set-header X-Forwarded-Proto {scheme}"
    yield f'    http-request set-header CF-Visitor "{{\\"scheme\\":\\"{scheme}\\"}}"'
    yield "    http-request set-header CF-Ray %[var(txn.ray)]"
    yield '    http-request add-header CDN-Loop "cloudflare; loops=1"'


def _inside(layout: EdgeLayout, point: PointOfPresence, state: EdgeState, scheme: str) -> Iterator[str]:
    """The hand-over from the outer to the inner layer, and the choice of the host's backend."""
    socket = f"abns@{_socket_name(layout)}-{point.city}-{scheme}"
    patience = 2 * layout.timing.connect + layout.timing.read + 10
    yield f"backend {point.city}.to-{scheme}"
    yield "    option http-server-close"
    yield f"    timeout server {_milliseconds(patience)}"
    yield f"    server inside {socket}"
    yield ""
    yield f"frontend {point.city}.{scheme}"
    yield f"    bind {socket}"
    yield "    http-request set-var(txn.host) req.hdr(host),field(1,:),lower"
    hosts = [(zone, host) for zone in state.zones if scheme in schemes(zone) for host in zone.hosts]
    for _, host in sorted(hosts, key=lambda pair: (pair[1].name.startswith("*"), pair[1].name)):
        wildcard = host.name.startswith("*.")
        test = f"-m end {host.name[1:]}" if wildcard else f"-m str {host.name}"
        yield f"    use_backend {backend_name(point.city, scheme, host.name)} if {{ var(txn.host) {test} }}"
    yield "    default_backend nowhere"
    yield ""


def _backend(
    layout: EdgeLayout,
    point: PointOfPresence,
    state: EdgeState,
    zone: Zone,
    host: Host,
    scheme: str,
    slots: SlotTable,
) -> Iterator[str]:
    yield f"backend {backend_name(point.city, scheme, host.name)}"
    if not host.origins:
        # "Error 1016: Origin DNS error": the record leads nowhere.
        yield '    http-request return status 530 content-type text/plain string "error code: 1016"'
        yield ""
        return
    yield "    balance random(1)"
    yield "    http-reuse always"
    # Exactly one more try, on another origin, and only when no byte of the request has left.
    yield "    retry-on conn-failure"
    yield f"    retries {1 if len(host.origins) > 1 else 0}"
    yield "    option redispatch 1"
    yield from _origin_errors(layout.timing)
    for version in (4, 6):
        source = point.source if version == 4 else point.source6
        places = slots.get(SlotKey(point.city, host.name, version), ())
        options = _server_options(layout, source)
        if scheme == "tls":
            options += _origin_tls(layout, state, zone)
        port = layout.origin_https_port if scheme == "tls" else layout.origin_http_port
        for place, address in enumerate(places):
            target = f"[{address or NOBODY[6]}]" if version == 6 else address or NOBODY[4]
            vacant = "" if address else " disabled"
            yield f"    server {server_name(version, place)} {target}:{port}{options}{vacant}"
    yield ""


def _server_options(layout: EdgeLayout, source: str | None) -> str:
    options = f" pool-purge-delay {_milliseconds(layout.timing.origin_keepalive)}"
    if source:
        options += f" source [{source}]" if ":" in source else f" source {source}"
    if layout.namespace:
        options += f" namespace {layout.namespace}"
    return options


def _origin_tls(layout: EdgeLayout, state: EdgeState, zone: Zone) -> str:
    """How the edge proves itself to origins, and what they must prove: in mode `strict`, the visited name.

    No revocation list is asked, as Cloudflare asks none.
    """
    options = " ssl sni var(txn.host)"
    if zone.origin_pulls:
        options += f" crt {layout.client_certificate(zone)}"
    if zone.ssl is SslMode.STRICT:
        return f"{options} verify required ca-file {layout.origin_authorities(state)}"
    return f"{options} verify none"


def _origin_errors(timing: Timing) -> Iterator[str]:
    """HAProxy's own errors under Cloudflare's numbers; an origin's own 5xx passes as it is.

    https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
    HAProxy's error pages carry a header that tells them from an origin's. A connection that was refused leaves
    the same traces as one that timed out, so the clock tells these two apart.
    """
    yield "    http-request set-var(txn.start) date(0,ms)"
    yield f"    http-response del-header {ERROR_HEADER}"
    yield f"    acl failed res.hdr({ERROR_HEADER}) -m found"
    yield '    acl mistrusted ssl_bc_err_str -m sub "certificate verify failed"'
    yield f"    acl waited date(0,ms),sub(txn.start) ge {round(timing.connect * 1000)}"
    for status, code, cause in (
        (503, 526, "mistrusted"),
        (503, 525, "{ ssl_bc_err gt 0 }"),
        (503, 523, "{ bc_err gt 0 }"),
        (503, 522, "waited"),
        (503, 521, ""),
        (504, 524, ""),
        (502, 520, ""),
    ):
        yield f"    http-after-response set-status {code} if failed {{ status {status} }} {cause}".rstrip()
    yield f"    http-after-response del-header {ERROR_HEADER}"


def _listens(layout: EdgeLayout, point: PointOfPresence, loopback: int, anycast: int) -> list[str]:
    addresses = [f"127.0.0.1:{loopback}"]
    if layout.namespace:
        for address in point.anycast:
            shown = f"[{address}]" if ":" in address else address
            addresses.append(f"{shown}:{anycast} namespace {layout.namespace}")
    return addresses


def _redirect(scheme: str, port: int, condition: str) -> list[str]:
    """The same page under the other scheme; who came to a loopback port is sent to its sister port."""
    rule = f"    http-request redirect code 301 location {scheme}://%[var(txn.host)]"
    return [
        f"{rule}:{port}%[pathq] if {condition} {{ req.hdr(host) -m sub : }}",
        f"{rule}%[pathq] if {condition}",
    ]


def _socket_name(layout: EdgeLayout) -> str:
    return "flotilla-" + hashlib.sha256(str(layout.directory).encode()).hexdigest()[:12]


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
