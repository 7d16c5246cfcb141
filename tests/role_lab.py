"""Machines of our roles on a network of their own: real boots, packages by the proxy, logins with pinned keys."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudinit import release, roles
from fleet import commands, ssh
from fleet.config import ANYWHERE, EDGE, Bundle, DatabaseSettings, Engine, Inbound, Settings
from fleet.identity import Identity
from sandbox.machines import base_image, host_apt
from sandbox.machines.nspawn import NspawnMachines
from sandbox.machines.port import MachineSpec, VolumeSpec
from sandbox.machines.sweep import sweep as sweep_machines
from sandbox.network.instances import Instances
from sandbox.network.namespaces import sweep as sweep_network
from sandbox.network.network import NamespaceNetwork
from sandbox.network.packages import PackageProxy
from sandbox.network.plan import prefix, public_slice
from sandbox.network.port import Allow, Attachment
from sandbox.network.services import RouterServices
from sandbox.network.vantage import Vantage
from sandbox.paths import cache_root
from tests.topologies import EDGE_RANGES, droplet, topology

SLUG = "debian-13-x64"
SITE = "www.foobar.com"
NETWORK = "10.20.0.0/20"
DESK = "203.0.113.7/32"
EDGE_ADDRESS = "173.245.48.9"
LOGIN_SECONDS = 90.0
APP = Path(__file__).parents[1] / "app"
PORT: dict[Engine, int] = {"mysql": 3306, "postgresql": 5432}


@dataclass(frozen=True, slots=True)
class Guest:
    """A booted machine."""

    slot: str
    attachment: Attachment
    target: ssh.Target

    @property
    def address(self) -> str:
        return self.attachment.public.address

    @property
    def private_address(self) -> str:
        return self.attachment.private.address

    async def attempt(self, command: str, stdin: str = "") -> ssh.Result:
        async with ssh.session(self.target, patience=LOGIN_SECONDS) as connection:
            return await ssh.run(connection, command, stdin=stdin.encode())

    async def run(self, command: str, stdin: str = "") -> str:
        """Output of a command; fails the test when the command fails."""
        result = await self.attempt(command, stdin)
        assert result.exit_code == 0, f"`{command[:80]}` on {self.slot}: {result.exit_code}\n{result.output}"
        return result.output.strip()


class RoleLab:
    """A cloud of a network and machines, without an API."""

    def __init__(
        self, home: Path, network: NamespaceNetwork, machines: NspawnMachines, identity: Identity
    ) -> None:
        self.home = home
        self.network = network
        self.machines = machines
        self.identity = identity
        self._attachments: dict[int, Attachment] = {}
        self._specs: dict[int, MachineSpec] = {}

    def edge(self) -> Vantage:
        return Vantage(self.network.plan.edge)

    def internet(self) -> Vantage:
        return Vantage(self.network.plan.internet)

    async def boot(self, number: int, slot: str, user_data: str, *volumes: VolumeSpec) -> Guest:
        """Boot a machine whose cloud firewall lets everything pass, so that its own is what is seen."""
        everything = [
            Allow("tcp", None, ANYWHERE),
            Allow("udp", None, ANYWHERE),
            Allow("icmp", None, ANYWHERE),
        ]
        attachment = droplet(self.network.plan.public, number, inbound=everything, outbound=everything)
        self._attachments[number] = attachment
        await self.network.apply(topology(*self._attachments.values()))
        spec = MachineSpec(
            id=number,
            hostname=slot,
            image=SLUG,
            public=attachment.public,
            private=attachment.private,
            user_data=user_data,
            ssh_keys=(),
            tags=(),
            region="lon1",
            memory_mib=1024,
            vcpus=1,
            volumes=volumes,
        )
        self._specs[number] = spec
        await self.machines.create(spec)
        await self.machines.start(spec)
        target = ssh.Target(
            attachment.public.address,
            self.identity.host_key(slot).public_openssh,
            private_key=self.identity.deploy_key().private_openssh,
        )
        return Guest(slot, attachment, target)

    async def power_cycle(self, number: int) -> None:
        await self.machines.stop(number, graceful=False)
        await self.network.renew(number)
        await self.machines.start(self._specs[number])

    async def web(self, number: int, slot: str, image: roles.WebImage) -> Guest:
        """A web member that starts from the plain distribution."""
        return await self.boot(number, slot, roles.web.boot(self.web_machine(slot, image)))

    def web_machine(self, slot: str, image: roles.WebImage | None) -> roles.WebMachine:
        return roles.WebMachine(
            stack="dev",
            slot=slot,
            network=NETWORK,
            inbound=(
                Inbound(protocol="tcp", port=22, sources=(DESK, NETWORK)),
                Inbound(protocol="tcp", port=443, sources=(EDGE,)),
                Inbound(protocol="tcp", port=8101, sources=(NETWORK,)),
                Inbound(protocol="tcp", port=8102, sources=(NETWORK,)),
            ),
            host_key=self.identity.host_key(slot),
            authorized_keys=(self.identity.deploy_key().public_openssh,),
            from_scratch=image,
        )

    def database_machine(self, slot: str, engine: Engine, *, from_scratch: bool) -> roles.DatabaseMachine:
        return roles.DatabaseMachine(
            stack="dev",
            slot=slot,
            network=NETWORK,
            inbound=(
                Inbound(protocol="tcp", port=22, sources=(DESK,)),
                Inbound(protocol="tcp", port=PORT[engine], sources=(NETWORK,)),
            ),
            host_key=self.identity.host_key(slot),
            authorized_keys=(self.identity.deploy_key().public_openssh,),
            engine=engine,
            volume=slot,
            from_scratch=roles.DatabaseImage(engine=engine) if from_scratch else None,
        )

    async def database(self, number: int, slot: str, engine: Engine) -> Guest:
        """A database machine that starts from the plain distribution, with an empty volume."""
        machine = self.database_machine(slot, engine, from_scratch=True)
        return await self.boot(number, slot, roles.database.boot(machine), VolumeSpec(slot, slot, 1))

    def database_bundle(self, guest: Guest, engine: Engine) -> Bundle:
        certificate = self.identity.certificate("database", ips=[guest.private_address])
        return Bundle(
            settings=Settings(database=_settings(guest, engine)),
            secrets={
                "database-password": self.identity.password("database"),
                "database-ca.pem": self.identity.authority().certificate_pem,
                "database-server.crt": certificate.certificate_pem,
                "database-server.key": certificate.private_key_pem,
            },
        )

    def web_bundle(self, database: Guest, engine: Engine) -> Bundle:
        certificate = self.identity.certificate("web", dns=[SITE])
        return Bundle(
            settings=Settings(
                database=_settings(database, engine), server_names=(SITE,), edge_ranges=EDGE_RANGES
            ),
            secrets={
                "database-password": self.identity.password("database"),
                "database-ca.pem": self.identity.authority().certificate_pem,
                "tls.crt": certificate.certificate_pem,
                "tls.key": certificate.private_key_pem,
            },
        )

    def guarded_bundle(self) -> Bundle:
        """A site that serves the edge alone, and needs no database to be ready."""
        certificate = self.identity.certificate("web", dns=[SITE])
        return Bundle(
            settings=Settings(
                server_names=(SITE,),
                edge_ranges=EDGE_RANGES,
                origin_pull_ca=self.identity.authority().certificate_pem,
                ready_path="/livez",
            ),
            secrets={"tls.crt": certificate.certificate_pem, "tls.key": certificate.private_key_pem},
        )

    def visit(self, guest: Guest, path: str = "/", **headers: str) -> tuple[int, dict[str, object]]:
        """A request as the edge makes it; status and JSON."""
        connection = self.connection(guest)
        try:
            return ask(connection, path, **headers)
        finally:
            connection.close()

    def connection(
        self, guest: Guest, name: str = SITE, *, client: Path | None = None
    ) -> http.client.HTTPConnection:
        """A TLS connection from the edge, which checks the member's certificate and can be used many times.

        `client`: a PEM file with the certificate and key that the edge shows.
        """
        context = ssl.create_default_context(cadata=self.identity.authority().certificate_pem)
        if client is not None:
            context.load_cert_chain(client)
        plain: socket.socket = self.edge().connect(guest.address, 443, source=EDGE_ADDRESS, seconds=5)
        connection = http.client.HTTPConnection(name)
        connection.sock = context.wrap_socket(plain, server_hostname=name)
        return connection


def ask(
    connection: http.client.HTTPConnection, path: str = "/", **headers: str
) -> tuple[int, dict[str, object]]:
    """One request on a connection; `ended` tells whether the member ends it."""
    connection.request("GET", path, headers={"Accept": "application/json", **headers})
    answer = connection.getresponse()
    body = answer.read()
    facts = json.loads(body) if answer.getheader("Content-Type", "").startswith("application/json") else {}
    return answer.status, {**facts, "ended": answer.getheader("Connection") == "close"}


def web_image() -> roles.WebImage:
    return roles.WebImage(release=release.from_directory(APP, "visits.wsgi:app"))


async def deliver(guest: Guest, archive: bytes, bundle: Bundle) -> str:
    """What the Pulumi program does for a machine from scratch."""
    return await guest.run(commands.INSTALL_AND_RECEIVE, commands.delivery(archive, bundle.to_json()))


def _settings(database: Guest, engine: Engine) -> DatabaseSettings:
    return DatabaseSettings(
        engine=engine, host=database.private_address, port=PORT[engine], name="site", user="site"
    )


@asynccontextmanager
async def role_lab(home: Path, identity: Identity) -> AsyncIterator[RoleLab]:
    """A lab; nothing of it is left afterwards."""
    await base_image.build(cache_root(), SLUG, lambda _: None)
    instances = Instances()
    instance = instances.claim(home)
    sweep_network(instance)
    network = NamespaceNetwork(instance, public_slice(instance))
    machines = NspawnMachines(home, cache_root(), prefix(instance))
    packages = PackageProxy(
        home,
        cache_root() / "packages",
        archives=sorted({source.uri for source in host_apt.sources_for("trixie")}),
        upstream_proxy=host_apt.proxy_environment().get("http_proxy"),
    )
    services = RouterServices(network.plan, lambda _: None)
    try:
        await network.apply(topology())
        await services.start(await packages.start())
        yield RoleLab(home, network, machines, identity)
    finally:
        await services.stop()
        await packages.stop()
        await machines.close()
        await asyncio.to_thread(sweep_machines, home)
        sweep_network(instance)
        instances.release(home)
