"""Two real machines and a datastore: they find each other in it, and nothing that is wrong with it does harm."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
import pytest
import pytest_asyncio
from botocore.config import Config  # type: ignore[import-untyped]

from cloudinit import archive
from cloudinit.document import cloud_config
from cloudinit.roles import common
from fleet import commands, ssh
from fleet.config import (
    DATASTORE_SEAL,
    DATASTORE_SECRETS,
    DatabaseSettings,
    DatastoreSettings,
    Inbound,
    MachineConfig,
    Settings,
)
from fleet.datastore_s3 import Bucket, Place
from fleet.datastore_signature import Keys
from fleet.identity import Identity
from tests.live_sandbox import LiveSandbox
from tests.machine_lab import until

pytestmark = [
    pytest.mark.machines,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

IDENTITY = Identity.from_seed(base64.b64encode(b"machines with one datastore (32)").decode())
BUCKET = "datastore-machines"
ENDPOINT = "https://lon1.digitaloceanspaces.com"
SET = "nft --json list set inet flotilla role_web4"
# What flotilla-receive does with a bundle's files, without the services of a role.
LAY = """
import json, sys
from fleet.machine.host import Host
from fleet.machine.store import BundleStore
store = BundleStore(Host())
store.activate(store.stage(json.load(sys.stdin)))
"""


def names(element: Any) -> list[str]:
    """What an element of a set admits; nft joins addresses that follow each other."""
    if isinstance(element, str):
        return [element]
    if "prefix" in element:
        network = ip_network(f"{element['prefix']['addr']}/{element['prefix']['len']}")
        return [str(network)] if network.num_addresses > 256 else [str(address) for address in network]
    first, last = (int(ip_address(end)) for end in element["range"])
    return [str(ip_address(number)) for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Member:
    """A machine with what every image has, and no service of a role."""

    droplet: int
    name: str
    private_address: str
    target: ssh.Target

    async def run(self, command: str, stdin: str = "", *, expect: int = 0) -> str:
        async with ssh.session(self.target, patience=60.0) as connection:
            done = await ssh.run(connection, command, stdin=stdin.encode())
        assert done.exit_code == expect, f"{self.name}: `{command[:80]}`: {done.exit_code}\n{done.output}"
        return done.output.strip()

    async def publish(self, *, expect: int = 0) -> None:
        await self.run("systemctl start flotilla-publish.service", expect=expect)

    async def admitted(self) -> set[str]:
        """Who may come as a web member."""
        [listed] = [entry["set"] for entry in json.loads(await self.run(SET))["nftables"] if "set" in entry]
        return {name for element in listed["elem"] for name in names(element)}

    async def journal(self) -> str:
        return await self.run(
            "journalctl --no-pager --boot --unit flotilla-publish --unit flotilla-follow -o cat"
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """The machines, their network, and the owner's own way to the bucket."""

    sandbox: LiveSandbox
    network: str
    one: Member
    two: Member
    owner: Bucket
    access_key: str

    @property
    def both(self) -> set[str]:
        return {self.one.private_address, self.two.private_address}


@pytest.fixture(scope="module")
def bucket(sandbox: LiveSandbox) -> Iterator[Bucket]:
    """As the operator reaches it."""
    told = sandbox.environment()
    access, secret = told["SPACES_ACCESS_KEY_ID"], told["SPACES_SECRET_ACCESS_KEY"]
    s3: Any = boto3.client(
        "s3",
        endpoint_url=told["SPACES_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}),
    )
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "lon1"})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    with Bucket(Place(told["SPACES_ENDPOINT_URL"], BUCKET, "lon1"), Keys(access, secret)) as bucket:
        yield bucket
    for version in s3.list_object_versions(Bucket=BUCKET).get("Versions", ()):
        s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(sandbox: LiveSandbox, bucket: Bucket) -> AsyncIterator[Pair]:
    region = [vpc for vpc in sandbox.api("GET", "vpcs")["vpcs"] if vpc["region"] == "lon1"]
    vpc = region[0] if region else sandbox.api("POST", "vpcs", {"name": "datastore", "region": "lon1"})["vpc"]
    grants = [{"bucket": BUCKET, "permission": "readwrite"}]
    key = sandbox.api("POST", "spaces/keys", {"name": "machines", "grants": grants})["key"]
    droplets = [order(sandbox, vpc, number) for number in (1, 2)]
    members: list[Member] = []
    try:
        for number, droplet in enumerate(droplets, 1):
            members.append(
                await prepared(sandbox, droplet, number, Keys(key["access_key"], key["secret_key"]))
            )
        yield Pair(sandbox, vpc["ip_range"], members[0], members[1], bucket, key["access_key"])
    finally:
        for member in members:
            print(f"{member.name}:\n{await member.journal()}")
        for droplet in droplets:
            sandbox.api("DELETE", f"droplets/{droplet}")


def order(sandbox: LiveSandbox, vpc: dict[str, Any], number: int) -> int:
    slot = f"web-{number}"
    machine = common.Machine(
        stack="prod",
        slot=slot,
        network=vpc["ip_range"],
        inbound=(
            Inbound(protocol="tcp", port=22, sources=("203.0.113.7/32",)),
            Inbound(protocol="tcp", port=8101, sources=("role:web",)),
        ),
        host_key=IDENTITY.host_key(slot),
        authorized_keys=(IDENTITY.deploy_key().public_openssh,),
    )
    config = MachineConfig(
        stack="prod",
        role="web",
        slot=slot,
        network=machine.network,
        inbound=machine.inbound,
        processes=(),
        ports=(22,),
    )
    body = {
        "name": f"{slot}-{str(number) * 7}",
        "region": "lon1",
        "size": "s-1vcpu-1gb",
        "image": "debian-13-x64",
        "vpc_uuid": vpc["id"],
        "user_data": cloud_config(common.boot_document(machine, config)),
    }
    made: int = sandbox.api("POST", "droplets", body)["droplet"]["id"]
    return made


async def prepared(sandbox: LiveSandbox, droplet: int, number: int, keys: Keys) -> Member:
    """Booted, with an image's common files and a bundle in force."""

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = sandbox.api("GET", f"droplets/{droplet}")["droplet"]
        return found

    async def active() -> bool:
        return bool(shown()["status"] == "active")

    await until(active)
    known = shown()
    addresses = {entry["type"]: entry["ip_address"] for entry in known["networks"]["v4"]}
    target = ssh.Target(
        addresses["public"],
        IDENTITY.host_key(f"web-{number}").public_openssh,
        private_key=IDENTITY.deploy_key().private_openssh,
    )
    member = Member(droplet, known["name"], addresses["private"], target)
    files = common.image_files([], [], [])
    async with ssh.session(target, patience=90.0) as connection:
        done = await ssh.run(connection, commands.INSTALL, stdin=archive.pack(files))
    assert done.exit_code == 0, done.output
    await member.run(f"PYTHONPATH=/usr/local/lib/flotilla python3 -c '{LAY}'", json.dumps(bundle_files(keys)))
    return member


def bundle_files(keys: Keys) -> dict[str, str]:
    settings = Settings(
        datastore=DatastoreSettings(endpoint=ENDPOINT, bucket=BUCKET, region="lon1"),
        database=DatabaseSettings(engine="mysql", host="10.0.0.9", port=3306, name="site", user="site"),
    )
    opening = dict(zip(DATASTORE_SECRETS, (keys.access, keys.secret), strict=True))
    secrets = {**opening, DATASTORE_SEAL: IDENTITY.seal_key(), "database-password": "a password that is hush"}
    return {
        "settings.json": settings.to_json(),
        **{f"secrets/{name}": value for name, value in secrets.items()},
    }


async def test_two_machines_find_each_other(pair: Pair) -> None:
    assert await pair.one.admitted() == {pair.network}
    began = time.monotonic()
    for member in (pair.two, pair.one):
        await member.run("systemctl start flotilla-publish.timer")

    async def met() -> bool:
        return await pair.one.admitted() == pair.both

    async def seen() -> bool:
        return {f"ips/web/{member.name}" for member in (pair.one, pair.two)} <= {
            each.key for each in pair.owner.list("ips/", limit=10).objects
        }

    await until(seen)
    await pair.one.publish()  # the second to come is seen at the first one's next look, within a minute
    await until(met)
    print(f"two machines met after {time.monotonic() - began:.1f} s")
    peers = json.loads(await pair.one.run("cat /etc/flotilla/peers/peers.json"))["peers"]
    assert peers == {"web-1": pair.one.private_address, "web-2": pair.two.private_address}
    record = json.loads(pair.owner.get(f"ips/web/{pair.two.name}")[0])
    assert (record["name"], record["private_address"]) == (pair.two.name, pair.two.private_address)
    assert record["address"] == pair.two.target.host


async def test_only_whom_the_set_names_may_come(pair: Pair) -> None:
    ask = f"timeout 2 bash -c '</dev/tcp/{pair.one.private_address}/8101' 2>&1"
    refused = "Connection refused"  # nothing listens: the packet filter let it pass
    assert refused in await pair.two.run(ask, expect=1)
    await pair.two.run("systemctl stop flotilla-publish.timer")
    pair.owner.delete(f"ips/web/{pair.two.name}")
    await pair.one.publish()

    async def gone() -> bool:
        return await pair.one.admitted() == {pair.one.private_address}

    await until(gone)
    await pair.two.run(ask, expect=124)
    await pair.two.run("systemctl start flotilla-publish.timer")
    await pair.two.publish()
    await pair.one.publish()

    async def back() -> bool:
        return await pair.one.admitted() == pair.both

    await until(back)
    assert refused in await pair.two.run(ask, expect=1)


async def test_wrong_objects_change_nothing_and_are_named(pair: Pair) -> None:
    good = pair.owner.get(f"ips/web/{pair.two.name}")[0]
    record = json.loads(good)
    wrong = {
        f"ips/web/{pair.two.name}": json.dumps(record | {"private_address": "198.51.100.66"}),
        "ips/web/web-8": json.dumps(record | {"version": 2, "name": "web-8"}),
        "ips/web/web-9": "\x00",
        "ips/README": "not a record",
    }
    await pair.two.run("systemctl stop flotilla-publish.timer")
    for key, text in wrong.items():
        pair.owner.put(key, text.encode())
    await pair.one.publish()

    async def told() -> bool:
        said = await pair.one.journal()
        return all(
            words in said
            for words in (
                f"198.51.100.66 is not inside this stack's network {pair.network}; it stays at "
                f"{pair.two.private_address}",
                "'ips/web/web-8' is passed over: its version is 2; this program reads version 1",
                "'ips/web/web-9' is passed over: the record is not JSON",
                "'ips/README' is passed over: its key is not ips/<role>/<name>",
            )
        )

    await until(told)
    assert await pair.one.admitted() == pair.both
    for key in wrong:
        pair.owner.delete(key)
    await pair.two.run("systemctl start flotilla-publish.timer")
    await pair.two.publish()
    await pair.one.publish()


async def test_the_credential_is_sealed_and_opened_on_machines_only(pair: Pair) -> None:
    await pair.one.run("systemctl start flotilla-credential.service")
    assert b"hush" not in pair.owner.get("credentials/database")[0]
    assert (await pair.two.run(commands.SEAL_CREDENTIAL)).endswith("user site at 10.0.0.9, sealed already")
    assert await pair.two.run(commands.db_credential("password")) == "a password that is hush"


async def test_units_have_few_rights(pair: Pair) -> None:
    for unit, most in (
        ("flotilla-publish", 15),
        ("flotilla-follow", 20),
        ("flotilla-credential", 20),
    ):
        line = f"systemd-analyze security --no-pager --threshold={most} {unit}.service"
        print((await pair.one.run(line)).splitlines()[-1])
    assert "failed" not in await pair.one.run("systemctl --failed --no-legend | grep flotilla || true")


async def test_without_the_datastore_the_last_good_list_stays_also_after_a_reload(pair: Pair) -> None:
    pair.sandbox.api("DELETE", f"spaces/keys/{pair.access_key}")
    await pair.one.publish(expect=1)
    assert "the last good list of machines stays" in await pair.one.journal()
    assert await pair.one.admitted() == pair.both
    await pair.one.run("systemctl reload nftables.service")
    assert await pair.one.admitted() == pair.both
    assert "hush" not in await pair.one.journal()
