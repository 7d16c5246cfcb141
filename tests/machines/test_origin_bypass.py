"""Past the edge: whoever comes to a member by another way gets not one byte of an answer."""

from __future__ import annotations

import base64
import datetime
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from cloudinit import roles
from fleet import commands
from fleet.config import Bundle
from fleet.identity import Identity
from sandbox.network.vantage import Answer
from tests.role_lab import EDGE_ADDRESS, SITE, Guest, RoleLab, ask, deliver, role_lab, web_image

pytestmark = [
    pytest.mark.machines,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

IDENTITY = Identity.from_seed(base64.b64encode(b"a member behind its edge, 32 by.").decode())
WEB = 1
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
GET = f"GET / HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n"
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def lay(self, path: Path) -> Path:
        kind = serialization.Encoding.PEM
        key = self.key.private_bytes(kind, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(self.certificate.public_bytes(kind) + key)
        return path


def issue(
    issuer: Pair | None = None,
    *,
    usage: ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    since: datetime.datetime = NOW - DAY,
    until: datetime.datetime = NOW + DAY,
    authority: bool = False,
) -> Pair:
    """A certificate that is right for the edge, apart from what a test changes; without an issuer self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    common_name = "authority" if authority else "edge"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


@pytest.fixture(scope="module")
def ours() -> Pair:
    """The authority of the stack's edge."""
    return issue(authority=True)


def bundle(lab: RoleLab, ours: Pair) -> Bundle:
    guarded = lab.guarded_bundle()
    authority = ours.certificate.public_bytes(serialization.Encoding.PEM).decode()
    return replace(guarded, settings=replace(guarded.settings, origin_pull_ca=authority))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RoleLab]:
    async with role_lab(tmp_path_factory.mktemp("bypass"), IDENTITY) as lab:
        yield lab


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(lab: RoleLab, ours: Pair) -> Guest:
    image = web_image()
    guest = await lab.web(WEB, "web-1", image)
    await deliver(guest, roles.web.archive(image), bundle(lab, ours))
    await guest.run(commands.GATE)
    return guest


@pytest.fixture(scope="module")
def edge_pair(ours: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edge's own certificate and key."""
    return issue(ours).lay(tmp_path_factory.mktemp("edge") / "edge.pem")


class Stranger:
    """Somebody who comes from the edge's addresses, as any customer of the edge can."""

    def __init__(self, lab: RoleLab, web: Guest) -> None:
        self._lab = lab
        self._web = web

    def connect(self, port: int = 443) -> socket.socket:
        return self._lab.edge().connect(self._web.address, port, source=EDGE_ADDRESS, seconds=5)

    def hear(
        self,
        request: bytes,
        *,
        pair: Path | None = None,
        name: str | None = SITE,
        protocols: Sequence[str] = (),
        tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        plain: bool = False,
    ) -> bytes:
        """All that the member says above TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = tls
        if pair:
            context.load_cert_chain(pair)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        heard = b""
        with self.connect() as raw:
            try:
                stream = raw if plain else context.wrap_socket(raw, server_hostname=name)
                stream.sendall(request)
                while chunk := stream.recv(4096):
                    heard += chunk
            except (ssl.SSLError, ConnectionError):
                pass  # refused; a TimeoutError is none and fails the test
        return heard


@pytest.fixture
def stranger(lab: RoleLab, web: Guest) -> Stranger:
    return Stranger(lab, web)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("tls", VERSIONS)
async def test_the_edge_is_answered(stranger: Stranger, edge_pair: Path, tls: ssl.TLSVersion) -> None:
    assert stranger.hear(GET.encode(), pair=edge_pair, tls=tls).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("tls", VERSIONS)
async def test_without_a_certificate_nothing_is_said(stranger: Stranger, tls: ssl.TLSVersion) -> None:
    assert stranger.hear(GET.encode(), tls=tls) == b""


def shared_by_all_customers(_: Pair) -> Pair:
    return issue(issue(authority=True))


def self_signed(_: Pair) -> Pair:
    return issue()


def expired(ours: Pair) -> Pair:
    return issue(ours, since=NOW - 9 * DAY, until=NOW - DAY)


def not_yet_valid(ours: Pair) -> Pair:
    return issue(ours, since=NOW + DAY, until=NOW + 9 * DAY)


def for_a_server(ours: Pair) -> Pair:
    return issue(ours, usage=ExtendedKeyUsageOID.SERVER_AUTH)


def signed_by_a_leaf_of_ours(ours: Pair) -> Pair:
    return issue(issue(ours))


WRONG = [shared_by_all_customers, self_signed, expired, not_yet_valid, for_a_server, signed_by_a_leaf_of_ours]


@pytest.mark.parametrize("tls", VERSIONS)
@pytest.mark.parametrize("make", WRONG)
async def test_a_wrong_certificate_is_told_nothing(
    stranger: Stranger, ours: Pair, tmp_path: Path, make: Callable[[Pair], Pair], tls: ssl.TLSVersion
) -> None:
    path = make(ours).lay(tmp_path / "pair.pem")
    assert stranger.hear(GET.encode(), pair=path, tls=tls) == b""


REQUESTS = {
    "garbage": b"\x00\x01\x02\r\n\r\n",
    "a long address": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": f"GET / HTTP/1.1\r\nHost: {SITE}\r\nX: {'a' * 70_000}\r\n\r\n".encode(),
    "a large body": f"POST / HTTP/1.1\r\nHost: {SITE}\r\nContent-Length: 99999999999\r\n\r\n".encode(),
    "an unknown encoding": f"POST / HTTP/1.1\r\nHost: {SITE}\r\nTransfer-Encoding: x\r\n\r\n".encode(),
    "an unknown version": f"GET / HTTP/3.0\r\nHost: {SITE}\r\n\r\n".encode(),
    "TRACE": f"TRACE / HTTP/1.1\r\nHost: {SITE}\r\n\r\n".encode(),
    "an expectation": (
        f"POST / HTTP/1.1\r\nHost: {SITE}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n".encode()
    ),
    "a foreign host": b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
    "no host": b"GET / HTTP/1.0\r\n\r\n",
    "a health check": f"GET /healthz HTTP/1.1\r\nHost: {SITE}\r\n\r\n".encode(),
}


@pytest.mark.parametrize("request_", list(REQUESTS.values()), ids=list(REQUESTS))
async def test_whatever_a_stranger_asks_nothing_is_said(
    stranger: Stranger, tmp_path: Path, request_: bytes
) -> None:
    path = issue().lay(tmp_path / "pair.pem")
    assert stranger.hear(request_, pair=path) == b""
    assert stranger.hear(request_) == b""
    assert stranger.hear(request_, plain=True) == b""


@pytest.mark.parametrize("host", ["www.example.com", "foobar.com", f"x.{SITE}", ""])
async def test_the_right_certificate_with_a_foreign_host_is_told_nothing(
    stranger: Stranger, edge_pair: Path, host: str
) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    assert not stranger.hear(request, pair=edge_pair).startswith(b"HTTP/1.1 2")
    if host:
        assert stranger.hear(request, pair=edge_pair) == b""


@pytest.mark.parametrize("name", ["www.example.com", None])
async def test_another_name_in_the_handshake_or_none_ends_it(
    stranger: Stranger, edge_pair: Path, name: str | None
) -> None:
    assert stranger.hear(GET.encode(), pair=edge_pair, name=name) == b""


async def test_a_second_host_on_the_same_connection_is_told_nothing(
    stranger: Stranger, edge_pair: Path
) -> None:
    both = f"GET /livez HTTP/1.1\r\nHost: {SITE}\r\n\r\n" + "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
    assert stranger.hear(both.encode(), pair=edge_pair).count(b"HTTP/1.1") == 1


async def test_http_2_in_which_a_server_speaks_first_is_not_offered(
    stranger: Stranger, edge_pair: Path, tmp_path: Path
) -> None:
    wrong = issue().lay(tmp_path / "pair.pem")
    for pair in (None, wrong, edge_pair):
        assert stranger.hear(H2_PREFACE, pair=pair, protocols=["h2"]) == b""


@pytest.mark.parametrize("port", [80, 8099, 8100, 8101])
async def test_no_other_port_answers(lab: RoleLab, web: Guest, port: int) -> None:
    assert lab.edge().probe(web.address, port, source=EDGE_ADDRESS) is Answer.SILENT
    assert lab.internet().probe(web.address, port) is Answer.SILENT


async def test_nobody_but_the_edge_reaches_the_site_at_all(lab: RoleLab, web: Guest) -> None:
    assert lab.internet().probe(web.address, 443) is Answer.SILENT


async def test_nobody_but_the_edge_is_believed_who_the_client_is(
    lab: RoleLab, web: Guest, ours: Pair, edge_pair: Path
) -> None:
    """The machine's own filter is out of the way here, so that nginx alone decides whom to believe."""
    forged = {"CF-Connecting-IP": "192.0.2.55", "X-Forwarded-For": "192.0.2.55", "X-Real-IP": "192.0.2.55"}
    guarded = bundle(lab, ours)
    elsewhere = replace(guarded, settings=replace(guarded.settings, edge_ranges=("2400:cb00::/32",)))
    await web.run(commands.RECEIVE, elsewhere.to_json())
    await web.run(f"nft add element inet flotilla edge4 '{{ {EDGE_ADDRESS} }}'")
    try:
        ask(lab.connection(web, client=edge_pair), "/?stranger", **forged)
    finally:
        await web.run(commands.RECEIVE, guarded.to_json())
    ask(lab.connection(web, client=edge_pair), "/?edge", **forged)
    log = await web.run("cat /var/log/nginx/access.log")
    [by_stranger] = [line for line in log.splitlines() if "/?stranger" in line]
    [by_edge] = [line for line in log.splitlines() if "/?edge" in line]
    assert by_stranger.startswith(f"{EDGE_ADDRESS} ")
    assert by_edge.startswith("192.0.2.55 ")


async def test_strangers_leave_no_visit(web: Guest) -> None:
    """What is no visit cannot close the fence either."""
    log = await web.run("cat /var/log/nginx/access.log")
    assert not [line for line in log.splitlines() if " 501 " in line or " 505 " in line]
