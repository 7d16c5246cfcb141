"""The edge and one real machine: what the machine reads of Cloudflare, and whom its site lets in."""

from __future__ import annotations

import asyncio
import http.client
import json
import shlex
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.live_sandbox import LiveSandbox
from tests.machine_lab import until
from tests.pems import Authority, new_key, private_pem, request_pem

pytestmark = [pytest.mark.machines, pytest.mark.timeout(120)]

ZONE = "inside.example"
SITE = f"www.{ZONE}"
# Answers whoever shows a certificate of the authority in clients.pem.
_SERVER = """
import http.server, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"in")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/srv/origin.pem")
context.verify_mode = ssl.CERT_REQUIRED
context.load_verify_locations("/srv/clients.pem")
server = http.server.ThreadingHTTPServer(("", 443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


class Machine:
    """A droplet with nothing of ours on it."""

    def __init__(self, sandbox: LiveSandbox) -> None:
        body = {"name": "inside", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
        self.sandbox = sandbox
        self.id: int = sandbox.api("POST", "droplets", body)["droplet"]["id"]

    @property
    def droplet(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox.api("GET", f"droplets/{self.id}")["droplet"]
        return found

    @property
    def address(self) -> str:
        networks = self.droplet["networks"]["v4"]
        return str(next(network["ip_address"] for network in networks if network["type"] == "public"))

    async def active(self) -> bool:
        return bool(self.droplet["status"] == "active")

    async def run(self, command: str) -> str:
        return await self.sandbox.inside.run(self.id, command)

    async def write(self, path: str, text: str) -> None:
        await self.run(f"printf %s {shlex.quote(text)} > {path}")


@pytest.fixture
async def machine(sandbox: LiveSandbox) -> AsyncIterator[Machine]:
    machine = Machine(sandbox)
    try:
        await until(machine.active)
        await sandbox.inside.booted(machine.id)
        yield machine
    finally:
        sandbox.api("DELETE", f"droplets/{machine.id}")


@pytest.fixture
def zone(sandbox: LiveSandbox) -> Iterator[str]:
    """The id of a zone of its own, since origin pulls hold for all of one."""
    made = sandbox.cloudflare("POST", "zones", {"name": ZONE})["id"]
    yield made
    sandbox.cloudflare("DELETE", f"zones/{made}")


async def test_machine_reads_the_published_ranges(sandbox: LiveSandbox, machine: Machine) -> None:
    ask = "curl --silent --show-error --fail --max-time 10 https://api.cloudflare.com/client/v4/ips"
    assert json.loads(await machine.run(ask))["result"] == sandbox.cloudflare("GET", "ips")
    by_openssl = (
        "import urllib.request as u; print(u.urlopen('https://api.cloudflare.com/client/v4/ips').status)"
    )
    assert await machine.run(f'python3 -c "{by_openssl}"') == "200"
    other = {"ipv4_cidrs": ["203.0.113.0/24"], "ipv6_cidrs": ["2001:db8::/32"]}
    sandbox.control("PUT", "edge/ranges", other)
    try:
        assert json.loads(await machine.run(ask))["result"].items() >= other.items()
    finally:
        sandbox.control("DELETE", "edge/ranges")
    await machine.run("update-ca-certificates --fresh")
    await machine.run(ask)
    refused = await machine.run(f"{ask.replace('/ips', '/zones')} || true")
    assert "400" in refused


async def test_site_lets_nobody_in_but_the_edge(sandbox: LiveSandbox, machine: Machine, zone: str) -> None:
    clients, key, client = Authority("Clients of the site"), new_key(), new_key()
    asked = {"csr": request_pem(key), "hostnames": [SITE], "request_type": "origin-ecc"}
    origin = sandbox.cloudflare("POST", "certificates", asked)["certificate"] + private_pem(key)
    for name, text in (("origin.pem", origin), ("clients.pem", clients.pem), ("server.py", _SERVER)):
        await machine.write(f"/srv/{name}", text)
    await machine.run("systemd-run --quiet --unit=site python3 /srv/server.py")
    shown = clients.issue(client, "edge", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    pulls = f"zones/{zone}/origin_tls_client_auth"
    sandbox.cloudflare("POST", pulls, {"certificate": shown, "private_key": private_pem(client)})
    sandbox.cloudflare("PATCH", f"zones/{zone}/settings/ssl", {"value": "strict"})
    record = {"type": "A", "name": SITE, "content": machine.address, "ttl": 1, "proxied": True}
    sandbox.cloudflare("POST", f"zones/{zone}/dns_records", record)

    await until(lambda: seen(sandbox, 520))
    sandbox.cloudflare("PUT", f"{pulls}/settings", {"enabled": True})
    await until(lambda: seen(sandbox, 200))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(straight, machine.address)


async def seen(sandbox: LiveSandbox, status: int) -> bool:
    """Whether visitors get this at every point of presence; one that has not heard of the zone refuses them."""
    told = sandbox.status()
    trust = ssl.create_default_context(cafile=str(Path(told["edge_ca"])))
    try:
        return {visit("127.0.0.1", port, trust) for port in told["edge_ports"]} == {status}
    except ssl.SSLError:
        return False


def straight(address: str) -> int:
    """A visit past the edge, without a certificate."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    return visit(address, 443, trust)


def visit(address: str, port: int, trust: ssl.SSLContext) -> int:
    connection = http.client.HTTPSConnection(SITE, port, timeout=30, context=trust)
    raw = socket.create_connection((address, port), 10)
    connection.sock = trust.wrap_socket(raw, server_hostname=SITE)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()
