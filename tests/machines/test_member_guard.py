"""What a member does against harm, on one real machine: strangers at its door, a broken app, an operator's hold."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from cloudinit import roles
from fleet import commands
from fleet.identity import Identity
from sandbox.network.vantage import Answer
from tests.machine_lab import until
from tests.role_lab import EDGE_ADDRESS, SITE, Guest, RoleLab, ask, deliver, role_lab, web_image
from tests.topologies import EDGE_RANGES

pytestmark = [
    pytest.mark.machines,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

IDENTITY = Identity.from_seed(base64.b64encode(b"a member that guards itself (32)").decode())
WEB = 1
PEER = "10.20.15.2"
FENCE = "/usr/local/sbin/flotilla-fence"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RoleLab]:
    async with role_lab(tmp_path_factory.mktemp("guard"), IDENTITY) as lab:
        yield lab


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edge's certificate and key."""
    pair = IDENTITY.certificate("edge", client=True)
    path = tmp_path_factory.mktemp("edge") / "client.pem"
    path.write_text(pair.certificate_pem + pair.private_key_pem)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(lab: RoleLab) -> Guest:
    image = web_image()
    guest = await lab.web(WEB, "web-1", image)
    await deliver(guest, roles.web.archive(image), lab.guarded_bundle())
    await guest.run(commands.GATE)
    return guest


async def status(web: Guest) -> dict[str, object]:
    facts: dict[str, object] = json.loads(await web.run(f"{FENCE} status --json"))
    return facts


def knock(lab: RoleLab, web: Guest) -> Answer:
    """What a new connection from the edge meets."""
    return lab.edge().probe(web.address, 443, source=EDGE_ADDRESS)


async def test_the_watcher_is_small_and_closed_in(web: Guest) -> None:
    pid = await web.run("systemctl show --value --property=MainPID flotilla-fence.service")
    resident = int((await web.run(f"grep VmRSS /proc/{pid}/status")).split()[1])
    print(f"watcher: {resident} KiB resident")
    assert resident < 18 * 1024
    await web.run("systemd-analyze security --no-pager --threshold=20 flotilla-fence.service >/dev/null")


async def test_the_watcher_needs_little_of_a_processor(web: Guest) -> None:
    show = "systemctl show --value --property=CPUUsageNSec flotilla-fence.service"
    before, began = int(await web.run(show)), time.monotonic()
    await asyncio.sleep(5)
    share = (int(await web.run(show)) - before) / 1e9 / (time.monotonic() - began)
    print(f"watcher: {share:.1%} of a processor")
    assert share < 0.1


async def test_peers_are_told_how_busy_this_machine_is(web: Guest) -> None:
    async def share() -> float:
        told = (await status(web))["cpu"]
        assert isinstance(told, float)
        return told

    quiet = await share()
    await web.run("systemd-run --quiet --unit=busy sh -c 'while :; do :; done'")

    async def seen() -> bool:
        return await share() > quiet + 0.05  # others keep the host busy too

    await until(seen, 30)
    print(f"cpu: {quiet:.2f} in rest, {await share():.2f} with one processor busy")
    await web.run("systemctl stop busy.service")


BAD = {
    "packages": ("echo absent >> {}", "/usr/share/flotilla/packages", "not installed: absent"),
    "manifest": (
        'sed -i \'s/"files": "..../"files": "0000/\' {}',
        "/usr/share/flotilla/manifest.json",
        "not as baked",
    ),
    "tls": (
        "openssl ecparam -genkey -name prime256v1 -noout | openssl pkcs8 -topk8 -nocrypt > /run/other.key; "
        "openssl x509 -in {0} > /run/other.crt; cat /run/other.crt /run/other.key > {0}",
        "/etc/flotilla/nginx/site.pem",
        "TLS for www.foobar.com fails",
    ),
    "cloud-init": (
        'sed -i \'s/"errors": \\[\\]/"errors": ["a module failed"]/\' {}',
        "/run/cloud-init/status.json",
        "a module failed",
    ),
    "live": (
        "sed -i 's#/livez#/nowhere#' {}",
        "/etc/flotilla/current/settings.json",
        "GET /nowhere answers 404",
    ),
    "fence": (
        "systemctl stop flotilla-fence.service; touch -d yesterday {}",
        "/run/flotilla/fence/status.json",
        "nobody watches",
    ),
}


@pytest.mark.parametrize("name", list(BAD))
async def test_the_gate_names_what_is_wrong(web: Guest, name: str) -> None:
    hurt, file, reason = BAD[name]
    await web.run(f"cp --preserve=all {file} /run/kept; {hurt.format(file)}")
    try:
        said = await web.attempt(f"{commands.GATE} --patience 0")
    finally:
        await web.run(f"cat /run/kept > {file}; systemctl start flotilla-fence.service")
    assert said.exit_code == 1
    [line] = [line for line in said.output.splitlines() if line.startswith(f"FAIL {name} (")]
    assert reason in line
    await web.run(commands.GATE)


async def test_visits_are_counted_across_a_rotation_of_the_log(
    lab: RoleLab, web: Guest, client: Path
) -> None:
    connection = lab.connection(web, client=client)
    before = (await status(web))["requests"]
    assert isinstance(before, int)
    for number in range(20):
        if number == 10:
            await web.run("logrotate --force /etc/logrotate.d/nginx")
        ask(connection, "/livez?visit")
        ask(connection, "/nowhere")
    connection.close()

    async def counted() -> bool:
        return (await status(web))["requests"] == before + 20  # health checks are no visits

    await until(counted, 10)


async def test_peers_are_answered_in_the_vpc_and_strangers_not_at_all(lab: RoleLab, web: Guest) -> None:
    fetch = f"curl --silent --fail --max-time 3 http://{web.private_address}:8101/status"
    assert json.loads(await web.run(fetch))["state"] == "open"
    for place in (lab.internet(), lab.edge()):
        with pytest.raises(OSError, match="timed out"):
            place.connect(web.address, 8101, seconds=1)


async def test_a_hold_refuses_at_once_ends_kept_connections_and_survives(
    lab: RoleLab, web: Guest, client: Path
) -> None:
    kept, idle = lab.connection(web, client=client), lab.connection(web, client=client)
    for connection in (kept, idle):
        assert not ask(connection, "/livez")[1]["ended"]
    assert await web.run(f"{FENCE} hold --reason 'a bad canary'") == "held: a bad canary"
    assert knock(lab, web) is Answer.REFUSED
    assert ask(kept, "/livez") == (200, {"alive": True, "ended": True})
    idle.sock.settimeout(5)
    assert await asyncio.to_thread(idle.sock.recv, 1) == b""
    assert lab.internet().probe(web.address, 443) is Answer.SILENT
    said = await web.attempt(f"{commands.GATE} --patience 0")
    assert "FAIL fence (0.0 s): the fence is held: a bad canary" in said.output
    await web.run("systemctl reload nftables.service")
    assert knock(lab, web) is Answer.REFUSED
    await lab.power_cycle(WEB)
    await web.run("cloud-init status --wait >/dev/null; systemctl is-active --wait flotilla-fence.service")
    assert knock(lab, web) is Answer.REFUSED
    assert (await status(web))["state"] == "held"
    await web.run(f"{FENCE} release")

    async def opened() -> bool:
        return knock(lab, web) is Answer.OPEN

    await until(opened, 15)


async def play_peer(web: Guest) -> None:
    """A second member in a network namespace of the machine, well and visited, as its nginx would tell."""
    await web.run(
        f"""set -e
        ip netns add peer; ip link add peer0 type veth peer name eth0 netns peer; ip link set peer0 up
        ip -n peer address add {PEER}/32 dev eth0; ip -n peer link set eth0 up
        ip route add {PEER}/32 dev peer0 src {web.private_address}; ip -n peer route add {web.private_address}/32 dev eth0
        mkdir -p /run/peer
        cat > /run/peer/tell <<'END'
n=0; e=0
while sleep 0.2; do
    n=$((n + 10)); [ -e /run/peer/suffers ] && e=$((e + 10))
    echo '{{"state": "open", "closing": false, "trouble": "", "requests": '$n', "errors": '$e'}}' > /run/peer/new
    mv /run/peer/new /run/peer/status; touch /run/peer/ready
done
END
        systemd-run --quiet --unit=peer-tells /bin/sh /run/peer/tell
        systemd-run --quiet --unit=peer-serves /usr/sbin/ip netns exec peer python3 -m http.server 8101 --directory /run/peer
        """
    )
    listed = json.dumps({"peers": {"web-1": web.private_address, "web-2": PEER}})
    await web.run("/usr/local/sbin/flotilla-peers", listed)


async def seconds_until_refused(lab: RoleLab, web: Guest, since: float) -> float:
    async def refused() -> bool:
        return knock(lab, web) is Answer.REFUSED

    await until(refused, 15)
    return time.monotonic() - since


async def test_a_member_that_hangs_or_dies_alone_closes_within_two_seconds(lab: RoleLab, web: Guest) -> None:
    await play_peer(web)

    async def opened() -> bool:
        return knock(lab, web) is Answer.OPEN

    for name, hurt, heal in (
        (
            "hangs",
            "systemctl kill --signal=STOP flotilla-app.service",
            "systemctl kill --signal=CONT flotilla-app.service",
        ),
        (
            "nginx is gone",
            "systemctl kill --signal=KILL nginx.service; systemctl stop nginx.service",
            "systemctl start nginx.service",
        ),
    ):
        began = time.monotonic()
        await web.run(hurt)
        seconds = await seconds_until_refused(lab, web, began)
        print(f"{name}: refused after {seconds:.2f} s")

        async def closed() -> bool:
            return (await status(web))["state"] == "closed"

        await until(closed, 5)
        assert seconds < 2.5  # the login that hurts it is in it
        await web.run(heal)
        await until(opened, 60)
    print(
        await web.run(
            "journalctl --no-pager --boot --unit flotilla-fence --output=short-precise | tail -n 20"
        )
    )


async def test_a_new_certificate_cuts_no_connection(lab: RoleLab, web: Guest, client: Path) -> None:
    bundle = lab.guarded_bundle()
    renewed = Identity.from_seed(base64.b64encode(b"another certificate for the site").decode())
    pair = renewed.certificate("web", dns=[SITE])
    idle = lab.connection(web, client=client)
    ask(idle, "/livez")
    new = {"tls.crt": pair.certificate_pem, "tls.key": pair.private_key_pem}
    assert "certificate laid" in await web.run(commands.RECEIVE, replace(bundle, secrets=new).to_json())
    assert ask(idle, "/livez") == (200, {"alive": True, "ended": False})
    with pytest.raises(ssl.SSLCertVerificationError):
        lab.connection(
            web, client=client
        )  # the new one is of an authority that the lab's edge does not trust
    await web.run(commands.GATE)
    await web.run(commands.RECEIVE, bundle.to_json())
    assert ask(lab.connection(web, client=client), "/livez")[0] == 200
    assert ask(idle, "/livez")[0] == 200


async def play_edge_api(web: Guest) -> None:
    """The edge's API beside the played peer, under its own name, with a certificate that the machine trusts."""
    pair = IDENTITY.certificate("api", dns=["api.cloudflare.com"])
    serve = (
        "import http.server, ssl\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain('/run/api/pair.pem')\n"
        "handler = lambda *a: http.server.SimpleHTTPRequestHandler(*a, directory='/run/api/www')\n"
        "server = http.server.HTTPServer(('', 443), handler)\n"
        "server.socket = context.wrap_socket(server.socket, server_side=True); server.serve_forever()\n"
    )
    for name, content in (
        ("pair.pem", pair.certificate_pem + pair.private_key_pem),
        ("serve.py", serve),
        ("ca.pem", IDENTITY.authority().certificate_pem),
    ):
        await web.run(f"mkdir -p /run/api/www/client/v4; cat > /run/api/{name}", content)
    await web.run(
        f"cat /run/api/ca.pem >> /etc/ssl/certs/ca-certificates.crt; echo '{PEER} api.cloudflare.com' >> /etc/hosts;"
        " systemd-run --quiet --unit=api /usr/sbin/ip netns exec peer python3 /run/api/serve.py"
    )


async def test_the_edges_addresses_are_followed_and_the_last_good_ones_kept(lab: RoleLab, web: Guest) -> None:
    await play_edge_api(web)
    published = {"ipv4_cidrs": ["173.245.48.0/20", "104.16.0.0/13"], "ipv6_cidrs": list(EDGE_RANGES[1:])}

    async def publish(result: object) -> int:
        document = json.dumps({"success": True, "result": result})
        await web.run("cat > /run/api/www/client/v4/ips", document)
        return (await web.attempt("systemctl start flotilla-edge-ranges.service")).exit_code

    async def ready() -> bool:
        return await publish(published) == 0

    await until(ready, 10)
    listed = await web.run("nft list set inet flotilla edge4")
    assert "104.16.0.0/13" in listed
    assert "104.16.0.0/13" in await web.run("nginx -T 2>/dev/null | grep set_real_ip_from")
    assert await publish({"ipv4_cidrs": ["0.0.0.0/0"], "ipv6_cidrs": []}) != 0
    said = await web.run("journalctl --no-pager --boot --unit flotilla-edge-ranges.service --output=cat")
    assert "the last good ranges stay in force: 0.0.0.0/0 is so wide" in said
    await web.run("systemctl reload nftables.service")
    assert await web.run("nft list set inet flotilla edge4") == listed
    assert await web.run(commands.RECEIVE, lab.guarded_bundle().to_json())
    assert await web.run("nft list set inet flotilla edge4") == listed
    await web.run(
        "systemd-analyze security --no-pager --threshold=25 flotilla-edge-ranges.service >/dev/null"
    )
    assert knock(lab, web) is Answer.OPEN


async def test_errors_close_a_member_unless_its_peers_have_them_too(
    lab: RoleLab, web: Guest, client: Path
) -> None:
    """Visitors get 503 here, as this site has no database."""

    def visit() -> bool:
        try:
            connection = lab.connection(web, client=client)
            status, _ = ask(connection)
        except (OSError, http.client.HTTPException):
            return False
        connection.close()
        assert status == 503
        return True

    async def visit_for(seconds: float) -> float:
        """Seconds until the member refused, or all of them."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds and await asyncio.to_thread(visit):
            pass
        return passed

    await web.run("touch /run/peer/suffers")
    assert await visit_for(4) >= 4
    await web.run("rm /run/peer/suffers")
    await asyncio.sleep(3)  # what was seen with the peer's errors is over
    seconds = await visit_for(10)
    assert knock(lab, web) is Answer.REFUSED
    print(f"answers 503: refused after {seconds:.2f} s")
    assert seconds < 3
    assert "were answered with 5xx" in str((await status(web))["reason"])


async def test_a_drain_leaves_and_works_while_the_fence_is_closed(web: Guest) -> None:
    await web.run(f"{FENCE} hold --reason 'on its way out'")
    said = await web.run(commands.drain(propagation=1, quiet=1, cap=5))
    assert said.endswith("drained")
    await web.run(f"{FENCE} release; rm -f /run/flotilla/leaving /run/flotilla/lame-duck")
