"""The autoscaler node on a real machine: its controller makes a burst member that serves, heals a member, lets one go."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from cloudinit import roles
from cloudinit.roles.common import PROGRAMS
from fleet import commands, ssh
from fleet.config import ANYWHERE, CONTROLLER_CONFIG, CONTROLLER_SECRETS, EDGE, Bundle, Inbound, Settings
from fleet.controller.config import (
    BLANK_KEY,
    BLANK_SLOT,
    Burst,
    BurstKey,
    ControllerConfig,
    ControllerSecrets,
    Delivery,
    Drain,
    Edge,
    HostKey,
)
from fleet.identity import Identity
from tests.live_sandbox import LiveSandbox
from tests.role_lab import web_image

pytestmark = [
    pytest.mark.machines,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(400),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

IDENTITY = Identity.from_seed(base64.b64encode(b"autoscaler on real machines (32)").decode())
STACK, ZONE = "tended", "foobar.dev"
DOMAIN = f"{STACK}.{ZONE}"
SIZE, IMAGE = "s-1vcpu-1gb", "debian-13-x64"
BOOT_SECONDS = 200.0
LOOK_SECONDS = 0.3
SSH = Inbound(protocol="tcp", port=22, sources=ANYWHERE)


def web_payload(network: str, slot: str, key: HostKey) -> str:
    return roles.web.boot(
        roles.WebMachine(
            stack=STACK,
            slot=slot,
            network=network,
            inbound=(
                SSH,
                Inbound(protocol="tcp", port=443, sources=(EDGE,)),
                Inbound(protocol="tcp", port=8101, sources=(network,)),
            ),
            host_key=key,
            authorized_keys=(IDENTITY.deploy_key().public_openssh,),
            from_scratch=web_image(),
        )
    )


def web_bundle() -> Bundle:
    """A site that needs no database to be ready."""
    certificate = IDENTITY.certificate("web", dns=[DOMAIN])
    return Bundle(
        settings=Settings(server_names=(DOMAIN,), edge_ranges=("173.245.48.0/20",), ready_path="/livez"),
        secrets={"tls.crt": certificate.certificate_pem, "tls.key": certificate.private_key_pem},
    )


@dataclass
class Machine:
    """A droplet that can be logged in to."""

    id: int
    name: str
    target: ssh.Target

    async def attempt(self, command: str, stdin: str = "") -> ssh.Result:
        async with ssh.session(self.target, patience=BOOT_SECONDS) as connection:
            return await ssh.run(connection, command, stdin=stdin.encode())

    async def run(self, command: str, stdin: str = "") -> str:
        done = await self.attempt(command, stdin)
        assert done.exit_code == 0, f"`{command[:80]}` on {self.name}: {done.exit_code}\n{done.output}"
        return done.output.strip()


@dataclass
class Cloud:
    """The stack's part of the sandbox."""

    sandbox: LiveSandbox
    network: dict[str, Any]
    zone: str
    key: str

    async def order(self, slot: str, tags: list[str], user_data: str) -> Machine:
        body = {
            "name": f"{slot}-0000001",
            "region": "lon1",
            "size": SIZE,
            "image": IMAGE,
            "vpc_uuid": self.network["id"],
            "ssh_keys": [self.key],
            "tags": tags,
            "user_data": user_data,
        }
        made = await asyncio.to_thread(self.sandbox.api, "POST", "droplets", body)
        number = int(made["droplet"]["id"])
        await until(lambda: self.droplet(number)["status"] == "active", f"{slot} to be active")
        host_key = IDENTITY.host_key(slot).public_openssh
        deploy_key = IDENTITY.deploy_key().private_openssh
        target = ssh.Target(address(self.droplet(number)), host_key, private_key=deploy_key)
        return Machine(number, body["name"], target)

    def droplet(self, number: int) -> Any:
        return self.sandbox.api("GET", f"droplets/{number}")["droplet"]

    def members(self) -> dict[str, Any]:
        rows = self.sandbox.api("GET", f"droplets?tag_name={STACK}-web&per_page=200")["droplets"]
        return {row["name"].rpartition("-")[0]: row for row in rows}

    def rotation(self) -> dict[str, str]:
        """Addresses that visitors are led to, by slot."""
        rows = self.sandbox.cloudflare("GET", f"zones/{self.zone}/dns_records?per_page=1000")
        return {row["comment"].rpartition(" ")[2]: row["content"] for row in rows if row["name"] == DOMAIN}

    def lead(self, slot: str, to: str) -> None:
        """As Pulumi does once a slot's member has passed its gate."""
        record = {
            "type": "A",
            "name": DOMAIN,
            "content": to,
            "ttl": 1,
            "proxied": True,
            "comment": f"flotilla {STACK} {slot}",
        }
        self.sandbox.cloudflare("POST", f"zones/{self.zone}/dns_records", record)

    def clear(self) -> None:
        for row in self.sandbox.cloudflare("GET", f"zones/{self.zone}/dns_records?per_page=1000"):
            if (row.get("comment") or "").startswith(f"flotilla {STACK} "):
                self.sandbox.cloudflare("DELETE", f"zones/{self.zone}/dns_records/{row['id']}")
        for row in self.sandbox.api("GET", f"droplets?tag_name={STACK}&per_page=200")["droplets"]:
            self.sandbox.api("DELETE", f"droplets/{row['id']}")
        for tag in self.sandbox.api("GET", "tags?per_page=200")["tags"]:
            if tag["name"].partition("-")[0] == STACK:
                self.sandbox.api("DELETE", f"tags/{tag['name']}")


@dataclass
class Site:
    cloud: Cloud
    node: Machine
    web: Machine


def address(droplet: Any) -> str:
    return next(str(card["ip_address"]) for card in droplet["networks"]["v4"] if card["type"] == "public")


async def until(reached: Callable[[], bool], what: str, seconds: float = BOOT_SECONDS) -> float:
    """Look until it is so; the seconds that it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not await asyncio.to_thread(reached):
        assert loop.time() - started < seconds, f"waited {seconds:.0f} s for {what}"
        await asyncio.sleep(LOOK_SECONDS)
    return loop.time() - started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(sandbox: LiveSandbox) -> AsyncIterator[Site]:
    """One slot that serves, and a node whose controller knows it."""
    vpcs = sandbox.api("GET", "vpcs")["vpcs"]
    network = next(row for row in vpcs if row["region"] == "lon1" and row["default"])
    zone = next(row["id"] for row in sandbox.cloudflare("GET", "zones") if row["name"] == ZONE)
    public = {"name": STACK, "public_key": IDENTITY.deploy_key().public_openssh}
    key = str(sandbox.api("POST", "account/keys", public)["ssh_key"]["id"])
    cloud = Cloud(sandbox, network, zone, key)
    try:
        yield await made(cloud)
    finally:
        cloud.clear()
        sandbox.api("DELETE", f"account/keys/{key}")


async def made(cloud: Cloud) -> Site:
    network = cloud.network["ip_range"]
    image = roles.AutoscalerImage()
    payload = roles.autoscaler.boot(
        roles.AutoscalerMachine(
            stack=STACK,
            slot="autoscaler-1",
            network=network,
            inbound=(SSH,),
            host_key=IDENTITY.host_key("autoscaler-1"),
            authorized_keys=(IDENTITY.deploy_key().public_openssh,),
            from_scratch=image,
        )
    )
    web, node = await asyncio.gather(
        cloud.order(
            "web-1", [STACK, f"{STACK}-web"], web_payload(network, "web-1", IDENTITY.host_key("web-1"))
        ),
        cloud.order("autoscaler-1", [STACK, f"{STACK}-autoscaler"], payload),
    )
    members = commands.delivery(roles.web.archive(web_image()), web_bundle().to_json())
    own = commands.delivery(roles.autoscaler.archive(image), node_bundle(cloud, members).to_json())
    await asyncio.gather(
        web.run(commands.INSTALL_AND_RECEIVE, members), node.run(commands.INSTALL_AND_RECEIVE, own)
    )
    cloud.lead("web-1", address(cloud.droplet(web.id)))
    await asyncio.gather(web.run(commands.GATE), node.run(commands.GATE))
    return Site(cloud, node, web)


def node_bundle(cloud: Cloud, delivery: str) -> Bundle:
    config = ControllerConfig(
        stack=STACK,
        domain=DOMAIN,
        region="lon1",
        vpc=cloud.network["id"],
        network=cloud.network["ip_range"],
        count=1,
        max=3,
        cooldown_seconds=0,
        drain=Drain(propagation=1, quiet=1, cap=5),
        edge=Edge(kind="cloudflare", zone=ZONE, zone_id=cloud.zone),
        burst=Burst(
            image=IMAGE,
            size=SIZE,
            ssh_keys=(cloud.key,),
            tags=(STACK, f"{STACK}-web", f"{STACK}-burst"),
            user_data=web_payload(cloud.network["ip_range"], BLANK_SLOT, BLANK_KEY),
        ),
        host_keys={"web-1": IDENTITY.host_key("web-1").public_openssh},
    )
    secrets = ControllerSecrets(
        cloud_token=cloud.sandbox.config.token,
        edge_token=cloud.sandbox.config.cloudflare_token,
        deploy_key=IDENTITY.deploy_key().private_openssh,
        deliveries={IMAGE: Delivery(laying="install", content=delivery)},
        burst_keys={f"burst-{n}": BurstKey.of(IDENTITY.host_key(f"burst-{n}")) for n in (1, 2, 3)},
    )
    return Bundle(
        settings=Settings(),
        secrets={CONTROLLER_CONFIG: config.to_json(), CONTROLLER_SECRETS: secrets.to_json()},
    )


async def test_the_controller_runs_with_few_rights(site: Site) -> None:
    run = site.node.run
    pid = await run("systemctl show --property=MainPID --value flotilla-controller")
    status = await run(f"cat /proc/{pid}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in facts["Uid"].split()
    assert facts["CapEff"] == facts["CapBnd"] == "0" * 16
    assert facts["NoNewPrivs"] == "1"
    told = await run("systemd-analyze security flotilla-controller | tail -n 1")
    exposure = float(told.split("exposure level for flotilla-controller.service: ")[1].split()[0])
    assert exposure <= 2.0, told
    kept = await run("grep --recursive --files-with-matches --fixed-strings --file=- /etc /var/lib || true",
                     stdin=site.cloud.sandbox.config.token)  # fmt: skip
    assert kept == ""
    shown = json.loads(await run(f"PYTHONPATH={PROGRAMS} python3 -P -m fleet.controller --dry-run"))
    assert shown["figures"]["serving"] == 1
    environment = await run(f"tr '\\0' '\\n' </proc/{pid}/environ; tr '\\0' ' ' </proc/{pid}/cmdline")
    for secret in (
        site.cloud.sandbox.config.token,
        site.cloud.sandbox.config.cloudflare_token,
        "PRIVATE KEY",
    ):
        assert secret not in environment
    metrics = "curl --silent --fail http://127.0.0.1:9464/metrics"
    shown = await run(
        f"timeout 20 sh -c 'until {metrics} | grep -q \"^flotilla_serving 1$\"; do sleep 0.5; done'; {metrics}"
    )
    assert "flotilla_serving 1\n" in shown
    assert "flotilla_droplets_known 1\n" in shown


async def test_it_grows_heals_and_shrinks(site: Site) -> None:
    """In one test, for each step is the next one's ground."""
    cloud, node = site.cloud, site.node
    await node.run("fleet scale 2")
    born = await until(lambda: "burst-1" in cloud.rotation(), "burst-1 to get visitors")
    burst = cloud.members()["burst-1"]
    assert cloud.rotation()["burst-1"] == address(burst)

    await asyncio.sleep(5)
    before = cloud.droplet(site.web.id)
    cloud.sandbox.control("POST", f"machines/{site.web.id}/fault", {"kind": "kill"})
    ejected = await until(lambda: "web-1" not in cloud.rotation(), "web-1 to be put aside")
    healed = await until(lambda: "web-1" in cloud.rotation(), "web-1 to serve again")
    after = cloud.droplet(site.web.id)
    assert (after["id"], after["networks"]) == (before["id"], before["networks"])

    await node.run("fleet scale auto")
    gone = await until(lambda: set(cloud.members()) == {"web-1"}, "burst-1 to be gone")
    assert set(cloud.rotation()) == {"web-1"}
    print(f"born {born:.1f} s, ejected {ejected:.1f} s, healed {healed:.1f} s more, gone {gone:.1f} s")
    told = [
        json.loads(line)["text"] for line in (await node.run("fleet log --lines 200 --json")).splitlines()
    ]
    for action in (
        "create",
        "prepare",
        "publish",
        "eject",
        "powercycle",
        "restore",
        "withdraw",
        "drain",
        "delete",
    ):
        assert any(text.startswith(f"{action} ") for text in told), f"{action} in {told}"


async def test_frozen_it_stays_so_over_a_restart(site: Site) -> None:
    node = site.node
    await node.run("fleet freeze --reason 'a look'")
    await node.run("systemctl restart flotilla-controller")
    await node.run("fleet scale 2")
    told = json.loads(await node.run("sleep 8; fleet status --json"))
    assert told["orders"]["create"]["reason"] == "a look"
    assert set(site.cloud.members()) == {"web-1"}
    await node.run("fleet scale auto && fleet unfreeze")
