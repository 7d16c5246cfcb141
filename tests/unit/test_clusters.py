"""Clusters of machines: failover, changes of size, and a daemon that dies at any point of the work."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.api.authority import new_authority
from sandbox.api.databases_port import ClusterSpec, DatabaseAccount, DatabaseNode
from sandbox.clusters import certificate
from sandbox.clusters.driver import MachineClusters
from sandbox.clusters.engines import ENGINES
from sandbox.clusters.record import ClusterRecord
from sandbox.machines.port import Interface, MachineError
from tests.unit.fake_nodes import Crash, FakeNodes

AUTHORITY, AUTHORITY_KEY = new_authority("database CA")
ADMIN = DatabaseAccount("doadmin", "pa'ss", "", primary=True)
SITE = DatabaseAccount("site1", "one", "", primary=False)
HOST = "private-db-do-user-1-0.c.db.ondigitalocean.com"


def node(number: int) -> DatabaseNode:
    public = Interface("eth0", f"02:d0:00:00:00:{number:02x}", f"198.18.0.{20 + number}", 20, "198.18.0.1")
    private = Interface("eth1", f"02:d1:00:00:00:{number:02x}", f"10.20.0.{20 + number}", 20, None)
    return DatabaseNode(number, f"db-{number}", public, private)


SPEC = ClusterSpec(
    id="c0ffee",
    name="db",
    engine="mysql",
    version="8",
    host=HOST.removeprefix("private-"),
    private_host=HOST,
    standby_host="replica",
    private_standby_host="private-replica",
    authority=AUTHORITY,
    authority_key=AUTHORITY_KEY,
    vpc="vpc",
    region="lon1",
    memory_mib=1024,
    vcpus=1,
    disk_gib=10,
    nodes=(node(1), node(2)),
    users=(ADMIN, SITE),
    databases=("defaultdb", "site"),
)
ALONE = replace(SPEC, nodes=(node(1),), standby_host="", private_standby_host="")
BIGGER = replace(SPEC, memory_mib=2048, disk_gib=25)


async def _image() -> None:
    """It is there."""


class Lab:
    """A driver over machines that outlive it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.nodes = FakeNodes()
        self.promotions: list[str] = []
        self.driver = self.daemon()

    def daemon(self) -> MachineClusters:
        """Another life of the daemon."""
        self.nodes.dead = False
        self.driver = MachineClusters(self.home, self.nodes, self.nodes, image=_image, changed=lambda: None)
        self.driver.on_promotion = self.promotions.append
        return self.driver

    async def recovered(self) -> None:
        await self.driver._tasks.settled()

    def private_address(self) -> str:
        (found,) = [record.data for record in self.driver.names() if record.name == HOST]
        return found

    def assert_serves(self, spec: ClusterSpec) -> None:
        """All nodes of the spec run with its size, exactly the primary serves, and the name leads to it."""
        primary = self.driver.primary(spec.id)
        assert set(self.nodes.serving) == {primary}
        assert self.nodes.on == {one.id for one in spec.nodes} == set(self.nodes.memory)
        assert set(self.nodes.memory.values()) == {spec.memory_mib}
        assert self.private_address() == next(one.private.address for one in spec.nodes if one.id == primary)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_a_new_cluster_serves_from_its_first_node(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    lab.assert_serves(SPEC)
    assert lab.driver.primary(SPEC.id) == 1
    assert lab.promotions == []


async def test_a_standby_takes_over_and_the_dead_node_stands_by(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    await lab.driver.kill_primary(SPEC.id)
    await lab.recovered()
    lab.assert_serves(SPEC)
    assert lab.driver.primary(SPEC.id) == 2
    assert lab.promotions == [SPEC.id]


async def test_a_standby_takes_over_before_anything_is_booted(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    lab.nodes.calls.clear()
    await lab.driver.kill_primary(SPEC.id)
    await lab.recovered()
    served = lab.nodes.calls.index("systemctl start managed-mysql.service in 2")
    assert served < lab.nodes.calls.index("create 1")


async def test_a_node_that_is_alone_comes_back(lab: Lab) -> None:
    await lab.driver.apply(ALONE)
    await lab.driver.kill_primary(ALONE.id)
    await lab.recovered()
    lab.assert_serves(ALONE)
    assert lab.promotions == []


async def test_a_standby_that_dies_boots_again_and_clients_notice_nothing(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    lab.nodes.calls.clear()
    lab.nodes.die(2)
    lab.driver.on_exit(2)
    await lab.recovered()
    lab.assert_serves(SPEC)
    assert not [call for call in lab.nodes.calls if "stop" in call or "attach" in call]


async def test_another_size_moves_the_data_once(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    lab.nodes.calls.clear()
    await lab.driver.apply(BIGGER)
    lab.assert_serves(BIGGER)
    assert lab.promotions == [SPEC.id]
    # The standby is ready, with its new size, before the old primary is told to stop.
    stopped = "systemctl stop managed-mysql.service managed-data@mysql.service in 1"
    assert lab.nodes.calls.index("start 2") < lab.nodes.calls.index(stopped)


async def test_a_size_that_is_wanted_during_a_recovery_stays(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    # The standby takes over, but the dead node does not boot at once, so the recovery goes on.
    lab.nodes.fail_once = "create 1"
    lab.nodes.die(1)
    lab.driver.on_exit(1)
    await asyncio.sleep(0)  # it has its turn now
    await lab.driver.apply(BIGGER)
    await lab.recovered()
    lab.assert_serves(BIGGER)
    assert lab.promotions == [SPEC.id, SPEC.id]


async def test_a_node_that_is_alone_is_stopped_in_order_to_be_resized(lab: Lab) -> None:
    await lab.driver.apply(ALONE)
    bigger = replace(ALONE, memory_mib=2048)
    await lab.driver.apply(bigger)
    lab.assert_serves(bigger)


async def test_the_serving_node_can_be_taken_away(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    other = replace(ALONE, nodes=(node(2),))
    await lab.driver.apply(other)
    lab.assert_serves(other)


async def test_nothing_changed_disturbs_nobody(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    lab.nodes.calls.clear()
    await lab.driver.apply(replace(SPEC, databases=("defaultdb",)))
    assert not [call for call in lab.nodes.calls if call.split()[0] in ("create", "start", "stop", "attach")]


async def test_stopped_clusters_come_back_with_their_data(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    await lab.driver.kill_primary(SPEC.id)
    await lab.recovered()
    await lab.driver.stop()
    assert lab.nodes.on == set()
    await lab.daemon().apply(SPEC)
    lab.assert_serves(SPEC)
    assert not [call for call in lab.nodes.calls if call.startswith("delete")]


async def test_a_removed_cluster_leaves_nothing(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    await lab.driver.remove(SPEC.id)
    await lab.driver.remove(SPEC.id)
    assert (lab.nodes.on, lab.nodes.attached, lab.nodes.memory) == (set(), {}, {})
    assert lab.driver.names() == ()
    assert not list((lab.home / "clusters").iterdir())


@pytest.mark.parametrize("step", range(1, 60))
async def test_a_daemon_that_dies_anywhere_finishes_in_its_next_life(tmp_path: Path, step: int) -> None:
    """Created, failed over, resized: whatever call of these is its last, the data is never open twice."""
    lab = Lab(tmp_path)
    lab.nodes.crash_at = step
    wanted = SPEC
    try:
        await lab.driver.apply(SPEC)
        lab.nodes.die(1)
        await lab.driver.apply(SPEC)
        wanted = BIGGER
        await lab.driver.apply(BIGGER)
    except Crash:
        pass
    else:
        assert step > len(lab.nodes.calls), "a step was left out"
    lab.nodes.crash_at = None
    await lab.daemon().apply(wanted)
    lab.assert_serves(wanted)


@pytest.mark.parametrize("step", range(1, 60))
async def test_work_that_failed_anywhere_is_finished_by_the_next_try(tmp_path: Path, step: int) -> None:
    lab = Lab(tmp_path)
    lab.nodes.fail_at = step
    for spec in (SPEC, BIGGER):
        try:
            await lab.driver.apply(spec)
        except MachineError:
            await lab.driver.apply(spec)
        lab.assert_serves(spec)


async def test_no_password_is_told_when_a_statement_fails(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    lab.nodes.fail_at = len(lab.nodes.calls) + 1

    async def refuse(machine: int, *command: str, text: str = "") -> str:
        if "mariadb" in command[0]:
            raise MachineError(f"ERROR near: {text}")
        return "active"

    lab.nodes.execute = refuse  # type: ignore[method-assign]
    lab.nodes.fail_at = None
    secret = DatabaseAccount("new", "s3cret", "", primary=False)
    with pytest.raises(MachineError) as raised:
        await lab.driver.apply(replace(SPEC, users=(ADMIN, secret)))
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_passwords_travel_over_standard_input_only(lab: Lab) -> None:
    await lab.driver.apply(SPEC)
    assert not [call for call in lab.nodes.calls if SITE.password in call.split() or "PRIVATE KEY" in call]
    told = [text for _, _, text in lab.nodes.inputs if "CREATE USER" in text]
    assert "IDENTIFIED BY 'pa''ss'" in told[0]


def test_rights_are_given_once_so_that_what_was_taken_stays_taken() -> None:
    first = ENGINES["mysql"].statements(SPEC, ClusterRecord())
    again = ENGINES["mysql"].statements(SPEC, ClusterRecord(users=("doadmin", "site1")))
    assert first.count("GRANT SELECT") == 2
    assert "GRANT SELECT" not in again
    assert "ALTER USER 'site1'@'%' IDENTIFIED BY 'one';" in again


@pytest.mark.parametrize(
    ("engine", "dropped"),
    [
        ("mysql", ["DROP USER IF EXISTS 'old'@'%';"]),
        ("pg", ['DROP ROLE IF EXISTS "old";', 'DROP OWNED BY "old"']),
    ],
)
def test_only_what_was_made_before_is_dropped(engine: str, dropped: list[str]) -> None:
    text = ENGINES[engine].statements(
        SPEC, ClusterRecord(users=("doadmin", "old"), databases=("site", "gone"))
    )
    assert all(line in text for line in dropped)
    assert text.count("DROP DATABASE") == 1
    assert "doadmin" not in [line for line in text.splitlines() if line.startswith("DROP ROLE")]


def test_odd_names_stay_names() -> None:
    odd = replace(SPEC, users=(ADMIN, DatabaseAccount("a'b\"c`d", "\\'; DROP", "", primary=False)))
    assert "CREATE USER IF NOT EXISTS 'a''b\"c`d'@'%';" in ENGINES["mysql"].statements(odd, ClusterRecord())
    assert 'ALTER ROLE "a\'b""c`d" PASSWORD' in ENGINES["pg"].statements(odd, ClusterRecord())


@pytest.mark.parametrize(("name", "fits"), [(HOST, True), ("replica", True), ("elsewhere", False)])
def test_the_strictest_client_takes_a_nodes_certificate_for_its_names_only(
    tmp_path: Path, name: str, fits: bool
) -> None:
    issued = certificate.issue(AUTHORITY, AUTHORITY_KEY, [HOST, "replica"])
    file = tmp_path / "node.pem"
    file.write_text(issued.certificate + issued.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = ssl.create_default_context(cadata=AUTHORITY)
    # What Python 3.13, and with it Debian 13, asks for by itself.
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    if fits:
        shake_hands(client, server, name)
    else:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            shake_hands(client, server, name)


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """A TLS handshake in memory; raises what the client finds wrong."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname=name),
        server.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert ends[0].version() == "TLSv1.3"
