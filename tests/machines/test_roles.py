"""Our roles on real machines, from the plain distribution to a page: boot, delivery, gate, packets, drain, reboot."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from cloudinit import roles
from fleet import commands
from fleet.config import Bundle
from fleet.identity import Identity
from sandbox.network.vantage import Answer
from tests.role_lab import (
    EDGE_ADDRESS,
    SITE,
    Guest,
    RoleLab,
    ask,
    deliver,
    role_lab,
    web_image,
)

pytestmark = [
    pytest.mark.machines,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

IDENTITY = Identity.from_seed(base64.b64encode(b"roles on real machines, 32 bytes").decode())
WEB, DATABASE, POSTGRESQL = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Site:
    """A member and its database, both delivered."""

    lab: RoleLab
    web: Guest
    database: Guest
    bundle: Bundle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RoleLab]:
    async with role_lab(tmp_path_factory.mktemp("roles"), IDENTITY) as lab:
        yield lab


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(lab: RoleLab) -> Site:
    image = web_image()
    web, database = await asyncio.gather(
        lab.web(WEB, "web-1", image), lab.database(DATABASE, "database-1", "mysql")
    )
    bundle = lab.web_bundle(database, "mysql")
    await asyncio.gather(
        deliver(web, roles.web.archive(image), bundle),
        deliver(
            database,
            roles.database.archive(roles.DatabaseImage(engine="mysql")),
            lab.database_bundle(database, "mysql"),
        ),
    )
    await asyncio.gather(web.run(commands.GATE), database.run(commands.GATE))
    return Site(lab, web, database, bundle)


async def test_every_payload_satisfies_cloud_inits_own_schema(site: Site, tmp_path: Path) -> None:
    payloads = [
        roles.web.boot(site.lab.web_machine("web-1", None)),
        roles.web.boot(site.lab.web_machine("web-1", web_image())),
        roles.web.bake(web_image()),
        roles.database.boot(site.lab.database_machine("database-1", "mysql", from_scratch=False)),
        roles.database.boot(site.lab.database_machine("database-1", "postgresql", from_scratch=True)),
        roles.database.bake(roles.DatabaseImage(engine="mysql")),
        roles.database.bake(roles.DatabaseImage(engine="postgresql")),
    ]
    for payload in payloads:
        said = await site.web.run("cat > /run/payload; cloud-init schema --config-file /run/payload", payload)
        assert "Valid schema" in said


async def test_a_wrong_payload_does_not_satisfy_it(site: Site) -> None:
    wrong = "#cloud-config\npackagez: [nginx]\n"
    said = await site.web.attempt("cat > /run/payload; cloud-init schema --config-file /run/payload", wrong)
    assert said.exit_code != 0


async def test_the_gate_names_every_check(site: Site) -> None:
    result = json.loads(await site.web.run(f"{commands.GATE} --json"))
    assert [check["name"] for check in result["checks"]] == [
        "cloud-init",
        "boots",
        "packages",
        "manifest",
        "firewall",
        "processes",
        "ports",
        "tls",
        "live",
        "app",
        "fence",
    ]
    assert result["ok"]
    assert json.loads(await site.web.run("cat /var/lib/flotilla/gate.json"))["slot"] == "web-1"


async def test_the_page_counts_visits_in_the_database(site: Site) -> None:
    first = site.lab.visit(site.web)[1]
    second = site.lab.visit(site.web)[1]
    assert first["member"] == "web-1"
    assert second["visits"] == int(str(first["visits"])) + 1


async def test_only_the_edge_reaches_the_site(site: Site) -> None:
    assert site.lab.edge().probe(site.web.address, 443, source=EDGE_ADDRESS) is Answer.OPEN
    assert site.lab.internet().probe(site.web.address, 443) is Answer.SILENT
    assert site.lab.internet().probe(site.web.address, 22) is Answer.SILENT
    assert site.lab.edge().probe(site.web.address, 22, source=EDGE_ADDRESS) is Answer.SILENT


async def test_only_the_vpc_reaches_the_database(site: Site) -> None:
    connect = "python3 -c 'import socket; socket.create_connection((\"{}\", 3306), 3)'"
    await site.web.run(connect.format(site.database.private_address))
    assert (await site.web.attempt(connect.format(site.database.address))).exit_code != 0
    assert site.lab.internet().probe(site.database.address, 3306) is Answer.SILENT


async def test_the_database_refuses_to_talk_in_plain(site: Site) -> None:
    plain = f"MYSQL_PWD=$(cat /etc/flotilla/current/secrets/database-password) mariadb --no-defaults --skip-ssl -h {site.database.private_address} -u site -e 'SELECT 1' site"
    said = await site.database.attempt(plain)
    assert said.exit_code != 0
    assert "secure" in said.output.lower() or "access denied" in said.output.lower()


async def test_a_foreign_name_learns_nothing(site: Site) -> None:
    with pytest.raises(ssl.SSLError):
        site.lab.connection(site.web, "www.example.com")
    assert site.lab.visit(site.web, Host="www.example.com")[0] == 421


async def test_the_edge_is_believed_who_the_client_is(site: Site) -> None:
    headers = {"CF-Connecting-IP": "192.0.2.55"}
    site.lab.visit(site.web, "/?forged", **headers)
    assert (await site.web.run("grep -F '/?forged' /var/log/nginx/access.log")).startswith("192.0.2.55 ")


async def test_metadata_is_for_root_only(site: Site) -> None:
    fetch = "curl --silent --show-error --max-time 3 http://169.254.169.254/metadata/v1/id"
    assert "404" in await site.web.run(f"{fetch} --output /dev/null --write-out '%{{http_code}}'")
    assert (await site.web.attempt(f"runuser -u www-data -- {fetch}")).exit_code != 0


async def test_the_same_bundle_again_changes_nothing(site: Site) -> None:
    assert (await site.web.run(commands.RECEIVE, site.bundle.to_json())).endswith("unchanged")


async def test_a_hostile_bundle_is_refused_and_the_site_serves_on(site: Site) -> None:
    hostile = site.bundle.to_json().replace(SITE, "x; return 200 owned")
    assert (await site.web.attempt(commands.RECEIVE, hostile)).exit_code == 1
    assert site.lab.visit(site.web)[0] == 200


async def test_a_certificate_of_its_own_is_made_when_none_is_given(site: Site) -> None:
    without = {name: text for name, text in site.bundle.secrets.items() if not name.startswith("tls.")}
    await site.web.run(commands.RECEIVE, replace(site.bundle, secrets=without).to_json())
    try:
        await site.web.run(commands.GATE)
    finally:
        await site.web.run(commands.RECEIVE, site.bundle.to_json())
    assert site.lab.visit(site.web)[0] == 200


async def test_with_an_origin_pull_authority_only_its_clients_are_served(site: Site, tmp_path: Path) -> None:
    authority = IDENTITY.authority().certificate_pem
    guarded = replace(site.bundle, settings=replace(site.bundle.settings, origin_pull_ca=authority))
    await site.web.run(commands.RECEIVE, guarded.to_json())
    try:
        with pytest.raises((ssl.SSLError, ConnectionResetError, http.client.RemoteDisconnected)):
            site.lab.visit(site.web)
        client = IDENTITY.certificate("edge", client=True)
        pair = tmp_path / "client.pem"
        pair.write_text(client.certificate_pem + client.private_key_pem)
        assert ask(site.lab.connection(site.web, client=pair))[0] == 200
        await site.web.run(commands.GATE)
    finally:
        await site.web.run(commands.RECEIVE, site.bundle.to_json())
    assert site.lab.visit(site.web)[0] == 200


async def test_restarts_of_the_app_cost_no_request(site: Site) -> None:
    restarts = asyncio.create_task(
        site.web.run("for n in 1 2 3; do systemctl restart flotilla-app.service; done")
    )
    statuses: set[int] = set()

    def visit_on() -> None:
        while not restarts.done():
            statuses.add(site.lab.visit(site.web)[0])

    await asyncio.gather(restarts, *(asyncio.to_thread(visit_on) for _ in range(4)))
    assert statuses == {200}


async def test_no_secret_is_in_a_process_or_journal(site: Site) -> None:
    password = site.bundle.secrets["database-password"]
    search = (
        'read -r secret; ! journalctl --no-pager | grep -F -e "$secret" && '
        '! grep -l -F -a -e "$secret" /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null'
    )
    await site.web.run(search, password + "\n")
    await site.database.run(search, password + "\n")


async def test_a_web_member_needs_little_memory(site: Site) -> None:
    used = site.lab.machines.memory_bytes(WEB)
    assert used is not None
    assert used < 300 << 20  # the page cache of the installation is in it
    pss = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ { sum += $2 } END { print sum }'"
    assert int(await site.web.run(pss)) < 120 * 1024


async def test_our_services_are_closed_in(site: Site) -> None:
    for unit, worst in (("flotilla-app.service", 20), ("flotilla-fence.service", 20), ("nginx.service", 40)):
        await site.web.run(f"systemd-analyze security --no-pager --threshold={worst} {unit} >/dev/null")


async def test_a_gate_that_fails_says_which_check_and_why(site: Site) -> None:
    await site.web.run("systemctl stop flotilla-app.service flotilla-app.socket")
    try:
        said = await site.web.attempt(f"{commands.GATE} --patience 1")
    finally:
        await site.web.run("systemctl start flotilla-app.socket flotilla-app.service")
    assert said.exit_code == 1
    assert "FAIL processes" in said.output
    assert "flotilla-app.service is inactive" in said.output
    assert "     | " in said.output


async def test_a_machine_comes_back_from_a_power_cut_by_itself(site: Site) -> None:
    before = int(str(site.lab.visit(site.web)[1]["visits"]))
    await asyncio.gather(site.lab.power_cycle(WEB), site.lab.power_cycle(DATABASE))
    await asyncio.gather(site.web.run(commands.GATE), site.database.run(commands.GATE))
    assert int(str(site.lab.visit(site.web)[1]["visits"])) > before


async def test_the_packet_filter_is_loaded_before_the_network(site: Site) -> None:
    when = "systemctl show --value --property=ActiveEnterTimestampMonotonic "
    filtered = int(await site.web.run(f"{when} nftables.service"))
    for unit in (
        "systemd-networkd",
        "network-online.target",
        "ssh",
        "nginx",
        "flotilla-app",
        "flotilla-fence",
    ):
        assert 0 < filtered < int(await site.web.run(f"{when} {unit}"))


async def test_a_drain_serves_on_and_then_ends_each_connection(site: Site) -> None:
    busy, idle = site.lab.connection(site.web), site.lab.connection(site.web)
    ask(idle)
    drain = asyncio.create_task(site.web.run(commands.drain(propagation=2, quiet=30, cap=2)))
    ended: list[bool] = []
    while not drain.done():
        status, facts = await asyncio.to_thread(ask, busy)
        assert status == 200
        ended.append(bool(facts["ended"]))
        if ended[-1]:
            busy.close()
            busy = site.lab.connection(site.web)
    said = await drain
    assert not ended[0]
    assert ended[-1]
    assert "lame duck" in said
    assert idle.sock.recv(1) == b""
    assert site.lab.visit(site.web)[0] == 200


async def test_postgresql_serves_the_same_site(lab: RoleLab, site: Site) -> None:
    database = await lab.database(POSTGRESQL, "database-2", "postgresql")
    image = roles.DatabaseImage(engine="postgresql")
    await deliver(database, roles.database.archive(image), lab.database_bundle(database, "postgresql"))
    await database.run(commands.GATE)
    await site.web.run(commands.RECEIVE, lab.web_bundle(database, "postgresql").to_json())
    await site.web.run(commands.GATE)
    assert lab.visit(site.web)[1]["visits"] == 1
    await lab.power_cycle(POSTGRESQL)
    await database.run(commands.GATE)
    assert lab.visit(site.web)[1]["visits"] == 2
