"""Two real members that stand in for each other: what one's app fails, the other answers, and nothing happens twice.

Then one of them is a gateway, and the other has a tunnel through it.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from cloudinit import release, roles
from fleet import commands
from fleet.config import Bundle, DatabaseSettings, TunnelSettings
from fleet.identity import Identity, SshKeyPair
from fleet.machine import failover
from sandbox.network.vantage import Answer
from tests.machine_lab import until
from tests.role_lab import EDGE_ADDRESS, Guest, RoleLab, deliver, role_lab

pytestmark = [
    pytest.mark.machines,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

IDENTITY = Identity.from_seed(base64.b64encode(b"members that stand in for peers ").decode())
FENCE = "/usr/local/sbin/flotilla-fence"
# It tells in the journal what it got, and fails as it is told to.
APP = """\
import os, socket, sys, time

def app(environ, start):
    path = environ["PATH_INFO"]
    if path.startswith("/take/"):
        print("took", path.rpartition("/")[2], file=sys.stderr, flush=True)
    broken = os.path.exists("/run/broken") and not path.startswith("/livez")
    time.sleep(0.05 if path.startswith(("/take/", "/work")) else 0)
    start("500 Internal Server Error" if broken else "200 OK", [("Content-Type", "text/plain")])
    return [socket.gethostname().encode()]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RoleLab]:
    async with role_lab(tmp_path_factory.mktemp("failover"), IDENTITY) as lab:
        yield lab


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edge's certificate and key."""
    pair = IDENTITY.certificate("edge", client=True)
    path = tmp_path_factory.mktemp("edge") / "client.pem"
    path.write_text(pair.certificate_pem + pair.private_key_pem)
    return path


def told(lab: RoleLab) -> Bundle:
    """What both members are told."""
    shown, bundle = IDENTITY.peer_certificate(), lab.guarded_bundle()
    pair = {"peer.crt": shown.certificate_pem, "peer.key": shown.private_key_pem}
    secrets = {**bundle.secrets, **pair, "peer-ca.pem": IDENTITY.authority().certificate_pem}
    return replace(bundle, secrets=secrets)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def members(lab: RoleLab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Guest, Guest]:
    directory = tmp_path_factory.mktemp("app")
    (directory / "tells.py").write_text(APP)
    image = roles.WebImage(release=release.from_directory(directory, "tells:app"))

    async def made(number: int) -> Guest:
        guest = await lab.web(number, f"web-{number}", image)
        await deliver(guest, roles.web.archive(image), told(lab))
        await guest.run(commands.GATE)
        return guest

    first, second = await asyncio.gather(made(1), made(2))
    listed = json.dumps({"peers": {guest.slot: guest.private_address for guest in (first, second)}})
    for guest in (first, second):
        await guest.run("/usr/local/sbin/flotilla-peers", listed)

    async def followed() -> bool:
        seen = [
            await guest.attempt(f"grep -c max_fails=1 {failover.CONFIGURATION}") for guest in (first, second)
        ]
        return all(said.exit_code == 0 for said in seen)

    try:
        await until(followed, 15)
    except TimeoutError:
        print(
            await first.run(
                "cat /etc/flotilla/peers/*; systemctl status --no-pager 'flotilla-failover*'; "
                "journalctl --no-pager --boot --unit='flotilla-failover*'; grep -v '^ *#' /run/flotilla-failover/nginx.conf || :"
            )
        )
        raise
    return first, second


@dataclass
class Visitors:
    """Who comes meanwhile, each on a connection of its own; whom the member refuses goes elsewhere, as at the edge."""

    lab: RoleLab
    member: Guest
    client: Path
    method: str = "GET"
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    refused: int = 0
    _number: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))
    _end: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        seen = ", ".join(f"{count} times {status} of {who}" for (status, who), count in self.answers.items())
        return f"{seen}; {self.refused} refused; slowest {self.slowest:.2f} s; {self.failures[:5]}"

    def visit(self) -> None:
        while not self._end.is_set():
            number, began = next(self._number), time.monotonic()
            try:
                connection = self.lab.connection(self.member, client=self.client)
            except (ConnectionError, ssl.SSLEOFError):
                # Nothing was asked yet.
                self.refused += 1
                time.sleep(0.05)
                continue
            connection.sock.settimeout(30)
            try:
                connection.request(self.method, f"/take/{number}")
                answer = connection.getresponse()
                self.answers[answer.status, answer.read().decode()[:20]] += 1
                if answer.status != 200:
                    self.failures.append(f"{number}: {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{number}: {error!r}")
            finally:
                connection.close()
            self.slowest = max(self.slowest, time.monotonic() - began)

    @contextmanager
    def coming(self, at_once: int = 6) -> Iterator[None]:
        threads = [threading.Thread(target=self.visit, daemon=True) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join(70)


async def taken(*members: Guest) -> Counter[str]:
    """How often each visit was given to an app, by its number; what the journal has of before is forgotten."""
    counted: Counter[str] = Counter()
    for guest in members:
        said = await guest.run(
            "journalctl --no-pager --boot --unit=flotilla-app.service --output=cat --grep='^took ' || :"
        )
        counted.update(line.split()[1] for line in said.splitlines() if line.startswith("took "))
        await guest.run("journalctl --quiet --rotate; journalctl --quiet --vacuum-time=1s")
    return counted


async def test_both_configurations_are_good_and_the_unit_is_closed_in(members: tuple[Guest, Guest]) -> None:
    first, _ = members
    await first.run("nginx -t -q")
    said = await first.run(f"journalctl --no-pager --boot --unit={failover.SERVICE} --output=cat")
    assert "[" not in said, "nginx complains in brackets"
    assert "server 10." in await first.run(f"grep -A2 'upstream peers' {failover.CONFIGURATION}")
    await first.run(f"systemd-analyze security --no-pager --threshold=25 {failover.SERVICE} >/dev/null")
    pids = (await first.run(f"cat /sys/fs/cgroup/system.slice/{failover.SERVICE}/cgroup.procs")).split()
    sizes = [int((await first.run(f"grep VmRSS /proc/{pid}/status")).split()[1]) for pid in pids]
    print(f"the nginx among peers: {sum(sizes)} KiB resident in {len(sizes)} processes")


# What is in the app's queue when its socket is closed was sent to it, so it is lost to a POST: nginx cannot know that
# nobody has read it. Where the socket just is not there, nothing was sent.
AWAY = {
    "GET": (
        "systemctl stop flotilla-app.socket flotilla-app.service",
        "systemctl start flotilla-app.socket flotilla-app.service",
    ),
    "POST": (
        "mv /run/flotilla-app.sock /run/flotilla-app.away",
        "mv /run/flotilla-app.away /run/flotilla-app.sock",
    ),
}


@pytest.mark.parametrize("method", list(AWAY))
async def test_an_app_that_cannot_be_reached_costs_no_request(
    lab: RoleLab, members: tuple[Guest, Guest], client: Path, method: str
) -> None:
    first, second = members
    await first.run("systemctl stop flotilla-fence.service")  # it must not need the fence
    await taken(first, second)
    seen = Visitors(lab, first, client, method)
    with seen.coming():
        await asyncio.sleep(1)
        await first.run(AWAY[method][0])
        await asyncio.sleep(2)
        await first.run(AWAY[method][1])
        await asyncio.sleep(1)
    print(f"{method}: {seen}")
    assert seen.failures == []
    assert seen.answers[200, "web-1"] > 0
    assert seen.answers[200, "web-2"] > 0
    if method == "POST":
        assert set((await taken(first, second)).values()) == {1}
    await first.run("systemctl start flotilla-fence.service")


async def test_without_peers_the_same_costs_requests(
    lab: RoleLab, members: tuple[Guest, Guest], client: Path
) -> None:
    """What the tests above and below this one prove, they prove."""
    first, _ = members
    hurt, heal = AWAY["POST"]
    await first.run(f"systemctl stop flotilla-fence.service {failover.SERVICE}")
    seen = Visitors(lab, first, client)
    with seen.coming():
        await asyncio.sleep(0.5)
        await first.run(hurt)
        await asyncio.sleep(0.5)
        await first.run(heal)
    print(f"without peers: {len(seen.failures)} failed")
    assert any(failure.endswith(" 502") for failure in seen.failures)
    await first.run(f"systemctl start {failover.SERVICE} flotilla-fence.service")


async def test_an_app_that_is_killed_costs_no_request(
    lab: RoleLab, members: tuple[Guest, Guest], client: Path
) -> None:
    first, _ = members
    seen = Visitors(lab, first, client)
    with seen.coming():
        for _ in range(3):
            await asyncio.sleep(1)
            await first.run("systemctl kill --signal=KILL flotilla-app.service")
            await asyncio.sleep(2)
    print(f"killed three times: {seen}")
    assert seen.failures == []
    assert seen.answers[200, "web-2"] > 0


async def test_an_app_that_hangs_costs_no_request(
    lab: RoleLab, members: tuple[Guest, Guest], client: Path
) -> None:
    first, _ = members

    async def opened() -> bool:
        return lab.edge().probe(first.address, 443, source=EDGE_ADDRESS) is Answer.OPEN

    await until(opened, 60)
    seen = Visitors(lab, first, client)
    with seen.coming():
        await asyncio.sleep(3)
        await first.run("systemctl kill --signal=STOP flotilla-app.service")
        await asyncio.sleep(4)
    print(f"hangs: {seen}")
    assert seen.failures == []
    assert seen.answers[200, "web-2"] > 0
    assert seen.refused > 0
    said = await first.run("journalctl --no-pager --boot --unit=flotilla-fence.service --output=cat")
    assert "flotilla-app.service answers nobody and was killed" in said
    await until(opened, 60)


async def test_errors_are_made_good_for_visits_that_change_nothing_alone(
    lab: RoleLab, members: tuple[Guest, Guest], client: Path
) -> None:
    first, second = members
    await first.run("systemctl stop flotilla-fence.service")

    async def opened() -> bool:
        return lab.edge().probe(first.address, 443, source=EDGE_ADDRESS) is Answer.OPEN

    await first.run(
        "nft flush chain inet flotilla fence; nft add rule inet flotilla fence accept; rm -f /run/flotilla/fence/*"
    )
    await until(opened, 10)
    await taken(first, second)
    await first.run("touch /run/broken")
    reads, writes = Visitors(lab, first, client), Visitors(lab, first, client, "POST")
    with reads.coming(3):
        await asyncio.sleep(1)
    assert set(reads.answers) == {(200, "web-2")}
    await taken(first, second)
    with writes.coming(3):
        await asyncio.sleep(1)
    assert set(writes.answers) == {(500, "web-1")}
    assert set((await taken(first, second)).values()) == {1}
    own = (await first.run("tail -n 1 /var/log/nginx/access.log")).split()[-1]
    assert own == "500", "what the own app answered is what the fence goes by"
    await first.run("rm /run/broken; systemctl start flotilla-fence.service")


async def test_health_is_not_made_good_by_a_peer(members: tuple[Guest, Guest]) -> None:
    first, second = members
    await first.run("systemctl stop flotilla-app.socket flotilla-app.service")
    ready = f"curl --silent --output /dev/null --write-out %{{http_code}} http://{first.private_address}:8101/ready"
    assert await second.run(ready) == "502"
    said = await first.attempt(f"{commands.GATE} --patience 0")
    assert said.exit_code == 1
    assert "FAIL live" in said.output
    await first.run("systemctl start flotilla-app.socket flotilla-app.service")


async def test_a_fenced_member_takes_nothing_over(members: tuple[Guest, Guest]) -> None:
    first, second = members
    dial = f"timeout 3 bash -c '</dev/tcp/{second.private_address}/{failover.PORT}'"
    await first.run(dial)
    await second.run(f"{FENCE} hold --reason 'a bad canary'")
    said = await first.attempt(dial)
    assert "Connection refused" in said.output
    await second.run(f"{FENCE} release")

    async def released() -> bool:
        return (await first.attempt(dial)).exit_code == 0

    await until(released, 15)


async def test_strangers_get_nothing_from_a_member(
    lab: RoleLab, members: tuple[Guest, Guest], client: Path
) -> None:
    first, second = members
    for place in (lab.internet(), lab.edge()):
        with pytest.raises(OSError, match="timed out"):
            place.connect(second.address, failover.PORT, seconds=1)
    await first.run("cat > /run/edge.pem", await asyncio.to_thread(client.read_text))
    ask = f"curl --silent --show-error --insecure https://{second.private_address}:{failover.PORT}/work"
    for shown in ("", "--cert /run/edge.pem"):
        said = await first.attempt(f"{ask} {shown}")
        # 35, 52, 55, 56: refused in the handshake, or hung up on; when that is seen is a matter of moments.
        assert said.exit_code in (35, 52, 55, 56), said.output
        assert second.slot not in said.output
    await first.run("rm /run/edge.pem")


NAME = "private-db.example.com"
# What stands for the database greets as MariaDB does.
GREETER = """\
import socketserver

class Greeter(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"J")
        self.request.recv(1)

socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 3306), Greeter).serve_forever()
"""
SSHD = f"""\
Port 2222
HostKey /run/gateway/host_key
PidFile none
AuthorizedKeysFile /run/gateway/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
AllowUsers tunnel
PermitOpen {NAME}:3306
PermitTTY no
"""


async def play_gateway(gateway: Guest, key: SshKeyPair, host_key: SshKeyPair) -> None:
    """An sshd of its own on a member, as on a bastion that lets its users reach the database and nothing else."""
    for name, content in (
        ("sshd_config", SSHD),
        ("host_key", host_key.private_openssh),
        ("authorized_keys", f"restrict,port-forwarding {key.public_openssh}\n"),
        ("greeter.py", GREETER),
    ):
        await gateway.run(f"umask 022; mkdir -p /run/gateway; cat > /run/gateway/{name}", content)
    await gateway.run(
        f"""set -e
        useradd --system --shell /usr/sbin/nologin --password '*' tunnel
        chmod 0600 /run/gateway/host_key; echo '127.0.0.1 {NAME}' >> /etc/hosts
        nft insert rule inet flotilla input tcp dport 2222 accept
        systemd-run --quiet --unit=greeter python3 /run/gateway/greeter.py
        systemd-run --quiet --unit=gateway /usr/sbin/sshd -D -e -f /run/gateway/sshd_config
        """
    )


async def greeted(member: Guest) -> bool:
    """The database's name leads to it."""
    said = await member.attempt(f"timeout 2 bash -c 'head -c 1 < /dev/tcp/{NAME}/3306'")
    return said.output == "J"


async def test_a_tunnel_is_kept_and_trusts_its_gateway_alone(
    lab: RoleLab, members: tuple[Guest, Guest]
) -> None:
    member, gateway = members
    key, right, wrong = (IDENTITY.host_key(name) for name in ("tunnel", "gateway", "stranger"))
    await play_gateway(gateway, key, right)

    def through(host_key: SshKeyPair) -> str:
        tunnel = TunnelSettings(
            host=gateway.private_address,
            port=2222,
            user="tunnel",
            host_key=host_key.public_openssh.rpartition(" ")[0],
        )
        database = DatabaseSettings(
            engine="mysql", host=NAME, port=3306, name="site", user="site", tunnel=tunnel
        )
        secrets = {
            "database-password": "unused",
            "database-ca.pem": IDENTITY.authority().certificate_pem,
            "tunnel-key": key.private_openssh,
        }
        bundle = told(lab)
        settings = replace(bundle.settings, database=database)
        return replace(bundle, settings=settings, secrets={**bundle.secrets, **secrets}).to_json()

    await member.run(commands.RECEIVE, through(wrong))
    said = await member.attempt(f"{commands.GATE} --patience 3")
    assert "FAIL tunnel" in said.output
    assert "Host key verification failed" in said.output, said.output
    assert not await greeted(member)
    await member.run(commands.RECEIVE, through(right))
    await member.run(commands.GATE)
    assert await greeted(member)
    await member.run("systemd-analyze security --no-pager --threshold=25 flotilla-tunnel.service >/dev/null")

    # One after the other: the session is cut, autossh is killed, ssh hangs.
    for hurt, mend in (
        (f"{gateway.slot}: pkill -KILL -u tunnel", ""),
        (f"{member.slot}: systemctl kill --signal=KILL flotilla-tunnel.service", ""),
        (f"{member.slot}: pkill -STOP -x ssh", "systemctl start flotilla-tunnel-check.service"),
    ):
        slot, _, command = hurt.partition(": ")
        await (gateway if slot == gateway.slot else member).run(command)
        began = time.monotonic()
        await member.run(mend or "true")
        await until(lambda: greeted(member), 30)
        print(f"{command}: greeted again after {time.monotonic() - began:.1f} s")
    journal = await member.run(
        "journalctl --no-pager --boot --unit=flotilla-tunnel-check.service --output=cat"
    )
    assert "opened anew" in journal

    await member.run(commands.RECEIVE, told(lab).to_json())
    assert (await member.attempt(f"getent hosts {NAME}")).exit_code != 0
    await member.run("! systemctl is-active --quiet flotilla-tunnel.service")
    await member.run(commands.GATE)
