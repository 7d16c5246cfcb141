"""A fleet as `pulumi up` leaves it, and a controller that tends it: real clients, simulated machines."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudinit import roles
from fleet import commands
from fleet.config import Inbound
from fleet.controller import clouds, memory
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
from fleet.controller.decide import decide
from fleet.controller.loop import Controller
from fleet.controller.model import Clock, Fence, Health, Orders, Record, Seen
from fleet.controller.world import World, owners
from fleet.identity import Identity
from tests.engine.local_cloud import LocalCloud, until
from tests.engine.site import now

IDENTITY = Identity.from_seed(base64.b64encode(bytes(range(32))).decode())
ZONE = "foobar.dev"
SIZE = "s-1vcpu-1gb"
# A pass of a test stands for several: whatever waits for a while has waited.
PASS_SECONDS = 12.0
WELL = Health(answered=True, fence=Fence.OPEN, ready=True, cpu=0.2)


def payload(stack: str, slot: str, key: HostKey) -> str:
    """What the program renders for a member."""
    return roles.web.boot(
        roles.WebMachine(
            stack=stack,
            slot=slot,
            network="10.0.0.0/8",
            inbound=(Inbound(protocol="tcp", port=22, sources=("10.0.0.0/8",)),),
            host_key=key,
            authorized_keys=(IDENTITY.deploy_key().public_openssh,),
        )
    )


@dataclass
class SimulatedHealth:
    """Members answer while their machines run, and say what a test has scripted by their names."""

    cloud: LocalCloud
    said: dict[str, Health] = field(default_factory=dict)
    usual: Health = WELL

    async def ask(self, members: Mapping[int, str]) -> dict[int, Health]:
        rows = {row["id"]: row for row in self.cloud.machines()}
        return {droplet: self._of(rows.get(droplet)) for droplet in members}

    def _of(self, row: dict[str, Any] | None) -> Health:
        if row is None or not row["running"]:
            return Health(answered=False, reached_by_peer=False)
        return self.said.get(row["name"], self.usual)


@dataclass
class Time:
    """Passes when a test says so; what the cloud does takes no time by it."""

    seconds: float = 1_000.0

    def clock(self) -> Clock:
        return Clock(wall=1.8e9 + self.seconds, monotonic=self.seconds, boot="test")


@dataclass
class Tended:
    """One stack of the sandbox."""

    cloud: LocalCloud
    state: Path
    config: ControllerConfig
    secrets: ControllerSecrets
    health: SimulatedHealth
    time: Time = field(default_factory=Time)
    said: list[str] = field(default_factory=list)
    since: float = field(default_factory=now)
    """When it was made: the cloud's log holds other tests' too."""

    @classmethod
    def create(
        cls,
        cloud: LocalCloud,
        state: Path,
        stack: str,
        *,
        count: int = 2,
        plain: bool = False,
        **changes: Any,
    ) -> Tended:
        """Slots with their records, and no burst member. `plain`: at the cloud's own DNS, without an edge."""
        domain = f"{stack}.{ZONE}"
        if plain:
            cloud.post("domains", {"name": domain})
            edge = Edge(kind="none", zone=domain)
        else:
            edge = Edge(kind="cloudflare", zone=ZONE, zone_id=cloud.zone(ZONE))
        for tag in (stack, f"{stack}-web", f"{stack}-burst"):
            cloud.post("tags", {"name": tag})
        key = cloud.post("account/keys", {"name": stack, "public_key": IDENTITY.deploy_key().public_openssh})
        vpc = next(row for row in cloud.list("vpcs", "vpcs") if row["region"] == "lon1")
        image = cloud.image("web-2026.11.21-3f2a")
        config = ControllerConfig(
            stack=stack,
            domain=domain,
            region="lon1",
            vpc=vpc["id"],
            network=vpc["ip_range"],
            count=count,
            max=count + 3,
            cooldown_seconds=0,
            drain=Drain(propagation=0, quiet=0, cap=1),
            edge=edge,
            burst=Burst(
                image=str(image),
                size=SIZE,
                ssh_keys=(str(key["ssh_key"]["id"]),),
                tags=(stack, f"{stack}-web", f"{stack}-burst"),
                user_data=payload(stack, BLANK_SLOT, BLANK_KEY),
            ),
            host_keys={f"web-{n}": IDENTITY.host_key(f"web-{n}").public_openssh for n in range(1, count + 1)},
        )
        secrets = ControllerSecrets(
            cloud_token=cloud.config.token,
            edge_token=cloud.config.cloudflare_token,
            deploy_key=IDENTITY.deploy_key().private_openssh,
            deliveries={str(image): Delivery(laying="receive", content='{"bundle":1}')},
            burst_keys={
                f"burst-{n}": BurstKey.of(IDENTITY.host_key(f"burst-{n}")) for n in range(1, count + 4)
            },
        )
        tended = cls(cloud, state, replace(config, **changes), secrets, SimulatedHealth(cloud))
        for number in range(1, count + 1):
            tended.add_slot(number)
        memory.begin(state)
        return tended

    def add_slot(self, number: int) -> None:
        """A droplet with its record, as Pulumi makes them."""
        slot, config = f"web-{number}", self.config
        body = {
            "name": f"{slot}-{number:07x}",
            "region": config.region,
            "size": SIZE,
            "image": int(config.burst.image),
            "vpc_uuid": config.vpc,
            "ssh_keys": list(config.burst.ssh_keys),
            "tags": [config.stack_tag, config.web_tag],
            "user_data": payload(config.stack, slot, IDENTITY.host_key(slot)),
        }
        droplet = self.cloud.post("droplets", body)["droplet"]["id"]
        until(lambda: self.droplet(droplet)["status"] == "active", f"{slot} to boot")
        self.records().create(self.seen(droplet).address or "", f"flotilla {config.stack} {slot}")

    def world(self, **changes: Any) -> World:
        """What the controller has to do with; members are reached at their public addresses."""
        plain = World(
            config=self.config,
            secrets=self.secrets,
            droplets=self.droplets_api(),
            records=self.records(),
            orders=lambda: memory.read_orders(self.state),
            prober=self.health,
            reach=lambda member: member.address,
            clock=self.time.clock,
        )
        return replace(plain, **changes)

    def controller(self, **changes: Any) -> Controller:
        """A controller as it is after a start."""
        world = self.world(**changes)
        return Controller(lambda: world, self.state, decide, self.said.append)

    async def settle(self, reached: Callable[[], bool], what: str, *, passes: int = 40) -> int:
        """Let one controller work until it is so; how many passes it took."""
        controller = self.controller()
        for number in range(passes):
            if reached():
                return number
            await controller.once()
            self.time.seconds += PASS_SECONDS
        raise AssertionError(f"waited {passes} passes for {what}:\n" + "\n".join(self.said))

    def droplets_api(self) -> clouds.Droplets:
        return clouds.droplets(self.secrets, self.cloud.url)

    def records(self) -> clouds.Records:
        return clouds.records(
            self.config, self.secrets, edge=f"{self.cloud.url}/client/v4", cloud=self.cloud.url
        )

    def order(self, **changes: Any) -> None:
        """As an operator does."""
        memory.write_orders(self.state, replace(memory.read_orders(self.state) or Orders(), **changes))

    def droplet(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.cloud.get(f"droplets/{number}")["droplet"]
        return found

    def seen(self, number: int) -> Seen:
        return clouds.seen(self.droplet(number))

    def members(self) -> dict[str, Seen]:
        """By slot; a slot twice is a mistake."""
        rows = [clouds.seen(row) for row in self.droplets_api().tagged(self.config.web_tag)]
        slots = [row.slot for row in rows]
        assert len(set(slots)) == len(slots), f"twins: {slots}"
        return {row.slot or row.name: row for row in rows}

    def rotation(self) -> dict[str, str]:
        """Who gets visitors: slots by address."""
        return {
            record.content: record.comment.rpartition(" ")[2]
            for record in self.every_record()
            if record.name == self.config.domain
        }

    def every_record(self) -> list[Record]:
        return self.records().every(owners(list(self.members().values())))

    def active(self, slot: str) -> Seen:
        """A member once its machine runs."""
        until(lambda: self.members()[slot].status == "active", f"{slot} to boot")
        return self.members()[slot]

    def ran(self, slot: str) -> list[str]:
        """The programs that a member was told to run."""
        told = [ran.command for ran in self.cloud.commands(self.since) if ran.name.startswith(f"{slot}-")]
        known = {commands.RECEIVE: "receive", commands.PEERS: "peers", commands.GATE: "gate"}
        return [known.get(line, line.split(" ", 1)[0].rpartition("/")[2]) for line in told]
