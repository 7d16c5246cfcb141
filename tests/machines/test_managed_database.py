"""Managed databases as real machines: TLS, trusted sources, names, failover, sizes, users, restarts."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.network.vantage import Answer, Vantage
from sandbox.paths import SandboxPaths
from sandbox.processes import ProcessId
from tests.database_client import DatabaseClient, Login
from tests.live_sandbox import LiveSandbox, live_sandbox

pytestmark = [
    pytest.mark.machines,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

# The first cluster on a host builds the image of the nodes.
_ONLINE_SECONDS = 180.0
_PORT = 25060
_TAG = "prod-web"

Json = dict[str, Any]


@dataclass
class Place:
    """A sandbox with a VPC, a droplet that carries the trusted tag, and one that does not."""

    sandbox: LiveSandbox
    vpc: str
    friend: int
    stranger: int

    def client(self, droplet: int) -> DatabaseClient:
        return DatabaseClient(self.sandbox.plan.droplet(droplet))

    def probe(self, droplet: int, address: str) -> Answer:
        return Vantage(self.sandbox.plan.droplet(droplet)).probe(address, _PORT, seconds=0.5)

    def cluster(self, key: str) -> Json:
        found: Json = self.sandbox.api("GET", f"databases/{key}")["database"]
        return found

    def machines_of(self, key: str) -> Json:
        """The cluster as the sandbox's status tells it: which node is the primary, and where they are."""
        found: Json = next(one for one in self.sandbox.status()["databases"] if one["id"] == key)
        return found

    def addresses(self, key: str) -> dict[int, Json]:
        return {node["id"]: node for node in self.machines_of(key)["nodes"]}

    def make(self, name: str, engine: str, nodes: int) -> Json:
        """A cluster that trusts the tag, online."""
        order = {
            "name": name,
            "engine": engine,
            "region": "lon1",
            "size": "db-s-1vcpu-2gb",
            "num_nodes": nodes,
        }
        order |= {"private_network_uuid": self.vpc, "rules": [{"type": "tag", "value": _TAG}]}
        made = self.sandbox.api("POST", "databases", order)["database"]
        return self.online(made["id"])

    def online(self, key: str) -> Json:
        """Once all that was asked of it is done."""
        deadline = time.monotonic() + _ONLINE_SECONDS
        while (cluster := self.cluster(key))["status"] != "online":
            assert time.monotonic() < deadline, f"{self.machines_of(key)}"
            time.sleep(0.05)
        return cluster

    def login(self, key: str, user: str = "doadmin") -> Login:
        ca = self.sandbox.api("GET", f"databases/{key}/ca")["ca"]["certificate"]
        account = self.sandbox.api("GET", f"databases/{key}/users/{user}")["user"]
        return Login.of(self.cluster(key), account, base64.b64decode(ca).decode())


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with live_sandbox("clusters") as sandbox:
        body = {"name": "prod", "region": "lon1", "ip_range": "10.20.0.0/20"}
        vpc = sandbox.api("POST", "vpcs", body)["vpc"]["id"]
        made = []
        for tags in ([_TAG], ["prod-other"]):
            order = {"name": tags[0], "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
            droplet = sandbox.api("POST", "droplets", order | {"tags": tags, "vpc_uuid": vpc})
            made.append(droplet["droplet"]["id"])
        place = Place(sandbox, vpc, *made)
        deadline = time.monotonic() + 60
        while any(sandbox.api("GET", f"droplets/{one}")["droplet"]["status"] != "active" for one in made):
            assert time.monotonic() < deadline, sandbox.status()
            time.sleep(0.1)
        yield place


@pytest.fixture(scope="module")
def mysql(place: Place) -> str:
    started = time.monotonic()
    key: str = place.make("site", "mysql", 2)["id"]
    print(f"two nodes online: {time.monotonic() - started:.1f} s")
    return key


def answering(place: Place, login: Login, seconds: float = 30.0) -> str:
    """Ask until there is an answer; statements of an outage fail in their own time."""
    deadline = time.monotonic() + seconds
    while True:
        done = place.client(place.friend).ask(login, "SELECT 1;")
        if done.returncode == 0:
            return done.stdout.strip()
        assert time.monotonic() < deadline, done.stderr


def test_a_member_reaches_it_by_its_private_name_over_verified_tls(place: Place, mysql: str) -> None:
    client, login = place.client(place.friend), place.login(mysql)
    assert client.value(login, "SELECT CURRENT_USER();") == "doadmin@%"
    cipher = client.value(login, "SHOW STATUS LIKE 'Ssl_version';")
    assert cipher.split("\t")[1] in ("TLSv1.2", "TLSv1.3")


def test_no_client_can_be_fooled_or_speak_plainly(place: Place, mysql: str) -> None:
    client, login = place.client(place.friend), place.login(mysql)
    other = place.make("other", "mysql", 1)["id"]
    foreign = client.ask(replace(login, ca=place.login(other).ca), "SELECT 1;")
    place.sandbox.api("DELETE", f"databases/{other}")
    assert (foreign.returncode, "certificate" in foreign.stderr.lower()) == (1, True)
    by_address = replace(login, host=next(iter(place.addresses(mysql).values()))["private"])
    assert client.ask(by_address, "SELECT 1;").returncode == 1
    plain = client.ask(login, "SELECT 1;", tls=False)
    assert (plain.returncode, "require_secure_transport" in plain.stderr) == (1, True)


def test_only_trusted_sources_meet_it_whatever_address_they_try(place: Place, mysql: str) -> None:
    primary = place.addresses(mysql)[place.machines_of(mysql)["primary"]]
    for side in ("public", "private"):
        assert place.probe(place.friend, primary[side]) is Answer.OPEN
        assert place.probe(place.stranger, primary[side]) is Answer.SILENT
    for outside in (Vantage(place.sandbox.plan.internet), Vantage(place.sandbox.plan.edge), Vantage()):
        assert outside.probe(primary["public"], _PORT, seconds=0.5) is Answer.SILENT
    assert Vantage(place.sandbox.plan.droplet(place.friend)).probe(primary["private"], 22, seconds=0.5) is (
        Answer.SILENT
    )


def test_a_tag_makes_a_source_and_takes_it_away(place: Place, mysql: str) -> None:
    primary = place.addresses(mysql)[place.machines_of(mysql)["primary"]]["private"]
    resource = {"resources": [{"resource_id": str(place.stranger), "resource_type": "droplet"}]}
    place.sandbox.api("POST", f"tags/{_TAG}/resources", resource)
    until(lambda: place.probe(place.stranger, primary) is Answer.OPEN)
    place.sandbox.api("DELETE", f"tags/{_TAG}/resources", resource)
    until(lambda: place.probe(place.stranger, primary) is Answer.SILENT)


def test_a_user_comes_changes_and_goes(place: Place, mysql: str) -> None:
    client, path = place.client(place.friend), f"databases/{mysql}"
    place.sandbox.api("POST", f"{path}/dbs", {"name": "visits"})
    place.sandbox.api("POST", f"{path}/users", {"name": "site1"})
    place.online(mysql)
    first = replace(place.login(mysql, "site1"), database="visits")
    until(lambda: client.ask(first, "SELECT 1;").returncode == 0)
    client.value(first, "CREATE TABLE visit (number INT PRIMARY KEY);")

    place.sandbox.api("POST", f"{path}/users", {"name": "site2"})
    second = replace(place.login(mysql, "site2"), database="visits")
    until(lambda: client.ask(second, "INSERT INTO visit VALUES (1);").returncode == 0)
    assert client.value(first, "SELECT COUNT(*) FROM visit;") == "1"

    place.sandbox.api("DELETE", f"{path}/users/site1")
    until(lambda: client.ask(first, "SELECT 1;").returncode != 0)
    assert client.value(second, "SELECT COUNT(*) FROM visit;") == "1"


def test_passwords_lie_in_the_clouds_store_only(place: Place, mysql: str) -> None:
    home = place.sandbox.home
    words = [place.login(mysql, user).password for user in ("doadmin", "site2")]
    patterns = [f"--regexp={word}" for word in words]
    # Not the volumes, which are long and empty: their databases keep hashes.
    command = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--exclude-dir=volumes"]
    found = subprocess.run([*command, *patterns, str(home)], capture_output=True, text=True).stdout.split()
    assert found, "nothing was searched"
    assert {Path(file).name.partition("-")[0] for file in found} == {"cloud.sqlite"}


def test_what_an_administrator_takes_from_a_user_stays_taken(place: Place, mysql: str) -> None:
    client, admin = place.client(place.friend), place.login(mysql)
    narrowed = "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'site2'@'%'; GRANT SELECT, INSERT ON visits.* TO 'site2'@'%';"
    client.value(admin, narrowed)
    place.sandbox.api("POST", f"databases/{mysql}/users", {"name": "site3"})
    until(lambda: client.ask(place.login(mysql, "site3"), "SELECT 1;").returncode == 0)
    second = replace(place.login(mysql, "site2"), database="visits")
    assert client.value(second, "SELECT COUNT(*) FROM visit;") == "1"
    assert "denied" in client.ask(second, "DROP TABLE visit;").stderr


def test_a_standby_takes_over_and_nothing_committed_is_lost(place: Place, mysql: str) -> None:
    client, login = place.client(place.friend), replace(place.login(mysql), database="visits")
    before = place.machines_of(mysql)["primary"]
    said = [number for number in range(100, 110) if _insert(client, login, number)]
    place.sandbox.control("POST", f"databases/{mysql}/fault", {"kind": "kill"})
    started = time.monotonic()
    answering(place, login)
    outage = time.monotonic() - started
    print(f"failover: {outage:.1f} s")

    assert place.machines_of(mysql)["primary"] != before
    kept = client.value(login, "SELECT number FROM visit WHERE number >= 100;").split()
    assert [int(number) for number in kept] == said == list(range(100, 110))
    assert outage < 15
    # The node that died stands by again and takes over in turn.
    started = time.monotonic()
    place.sandbox.control("POST", f"databases/{mysql}/fault", {"kind": "kill"})
    answering(place, login, seconds=60)
    print(f"failover to a node that is booting still: {time.monotonic() - started:.1f} s")
    assert place.machines_of(mysql)["primary"] == before


def test_a_larger_size_keeps_the_data(place: Place, mysql: str) -> None:
    client, login = place.client(place.friend), replace(place.login(mysql), database="visits")
    assert client.value(login, "SELECT @@max_connections;") == "150"
    started = time.monotonic()
    place.sandbox.api("PUT", f"databases/{mysql}/resize", {"size": "db-s-2vcpu-4gb", "num_nodes": 2})
    place.online(mysql)
    print(f"resized: {time.monotonic() - started:.1f} s")
    answering(place, login)
    assert client.value(login, "SELECT @@max_connections;") == "300"
    assert client.value(login, "SELECT COUNT(*) FROM visit;") == "11"


def test_it_comes_back_with_the_sandbox(place: Place, mysql: str) -> None:
    place.sandbox.command("down")
    place.sandbox.up()
    login = replace(place.login(mysql), database="visits")
    answering(place, login)
    assert place.client(place.friend).value(login, "SELECT COUNT(*) FROM visit;") == "11"


def test_a_killed_daemon_finds_its_clusters_at_work(place: Place, mysql: str) -> None:
    nodes = place.addresses(mysql)
    before = [place.sandbox.inside.init(node) for node in nodes]
    daemon = ProcessId.read(SandboxPaths(place.sandbox.home).daemon_pid)
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGKILL)
    asyncio.run(daemon.wait())
    place.sandbox.up()
    answering(place, place.login(mysql))
    assert [place.sandbox.inside.init(node) for node in nodes] == before


def test_cables_that_are_pulled_cost_clients_time_and_nothing_else(place: Place, mysql: str) -> None:
    client, login = place.client(place.friend), replace(place.login(mysql), database="visits")
    primary = place.machines_of(mysql)["primary"]
    place.sandbox.control("POST", f"databases/{mysql}/fault", {"kind": "isolate"})
    assert place.probe(place.friend, place.addresses(mysql)[primary]["private"]) is Answer.SILENT
    place.sandbox.control("POST", f"databases/{mysql}/fault", {"kind": "heal"})
    answering(place, login)
    assert place.machines_of(mysql)["primary"] == primary
    assert client.value(login, "SELECT COUNT(*) FROM visit;") == "11"


def test_postgresql_alike(place: Place) -> None:
    key = place.make("elephant", "pg", 2)["id"]
    place.sandbox.api("POST", f"databases/{key}/users", {"name": "site1"})
    client, admin = place.client(place.friend), place.login(key)
    site = place.login(key, "site1")
    assert client.value(admin, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();") == "t"
    assert client.ask(admin, "SELECT 1;", tls=False).returncode != 0
    until(lambda: client.ask(site, "SELECT 1;").returncode == 0)
    assert "permission denied" in client.ask(site, "CREATE TABLE visit (number int);").stderr
    client.value(admin, "GRANT CREATE ON SCHEMA public TO site1;")
    client.value(site, "CREATE TABLE visit (number int); INSERT INTO visit VALUES (7);")
    place.sandbox.control("POST", f"databases/{key}/fault", {"kind": "kill"})
    answering(place, admin)
    assert client.value(site, "SELECT number FROM visit;") == "7"
    # What a user owned is the administrator's once the user is gone.
    place.sandbox.api("DELETE", f"databases/{key}/users/site1")
    until(lambda: client.ask(site, "SELECT 1;").returncode != 0)
    assert client.value(admin, "SELECT tableowner FROM pg_tables WHERE tablename = 'visit';") == "doadmin"


def test_a_deleted_cluster_leaves_nothing(place: Place, mysql: str) -> None:
    nodes = place.addresses(mysql)
    home = place.sandbox.home
    places = [home / "volumes" / f"cluster-{mysql}.img", home / "clusters" / f"{mysql}.json"]
    places += [home / "machines" / str(node) for node in nodes]
    assert all(place.exists() for place in places)
    place.sandbox.api("DELETE", f"databases/{mysql}")
    until(lambda: not any(place.exists() for place in places), seconds=30)


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Look again and again; for what tells nobody when it happens."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _insert(client: DatabaseClient, login: Login, number: int) -> bool:
    statement = f"INSERT INTO visit VALUES ({number});"  # noqa: S608 # a number of ours
    return client.ask(login, statement).returncode == 0
