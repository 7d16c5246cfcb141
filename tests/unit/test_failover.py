"""Peer failover: what is rendered, when its units run, and what is asked of peers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cloudinit.roles import common, web
from fleet import identity
from fleet.machine import failover, nginx, places
from fleet.machine.checks import checks_for
from fleet.machine.host import MachineError
from fleet.reading import ConfigError
from tests.unit.fake_machine import WEB, FakeClock, FakeHost, web_host
from tests.unit.test_receive import KEY, PEM, WEB_BUNDLE, give, running

MEMBERS = {"web-1": "10.20.0.2", "web-2": "10.20.0.3", "web-10": "fd00::5"}
SHOWN = {"peer.crt": PEM, "peer.key": KEY, "peer-ca.pem": PEM}
WITH_PEERS = replace(WEB_BUNDLE, secrets={**WEB_BUNDLE.secrets, **SHOWN})


def block(text: str, opening: str) -> str:
    """The first block that opens so."""
    start = text.index(opening)
    depth = 0
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0 and text[at] == "}":
            return text[start : at + 1]
    raise AssertionError(f"{opening} never ends")


@pytest.fixture
def text() -> str:
    return failover.render("web-1", MEMBERS)


def test_all_peers_but_this_member_are_dialled(text: str) -> None:
    servers = re.findall(r"server (\S+)", block(text, "upstream peers"))
    assert servers == ["10.20.0.3:8102", "[fd00::5]:8102"]


def test_peers_are_trusted_by_authority_and_name_and_are_shown_a_certificate(text: str) -> None:
    asking = block(text, "server {\n        listen unix:")
    assert "proxy_pass https://peers;" in asking
    assert "proxy_ssl_verify on;" in asking
    assert f"proxy_ssl_name {identity.PEER_NAME};" in asking
    for name in SHOWN:
        assert f"/run/credentials/flotilla-failover.service/{name};" in asking


def test_who_is_no_member_gets_nothing_of_the_app(text: str) -> None:
    answering = block(text, "server {\n        listen 8102")
    assert "ssl_verify_client on;" in answering
    assert f'if ($ssl_client_s_dn != "CN={identity.PEER_NAME}") {{ return 444; }}' in answering


def test_what_came_from_a_peer_is_never_handed_on(text: str) -> None:
    answering = block(text, "server {\n        listen 8102")
    assert "proxy_pass http://app;" in answering
    assert "proxy_next_upstream off;" in answering
    assert re.findall(r"server (\S+)", block(text, "upstream app")) == [failover.APP]


def test_no_request_is_repeated_that_may_change_something_a_second_time(text: str) -> None:
    site = nginx.render(
        WEB_BUNDLE.settings, network="10.20.0.0/20", ipv6=True, certificate="c", key="k", with_peers=True
    )["nginx/site.conf"]
    assert "non_idempotent" not in text + site
    assert "proxy_next_upstream_tries 2;" in site


@pytest.mark.parametrize("members", [{}, {"web-1": "10.20.0.2"}])
def test_without_peers_the_own_app_is_asked_once_more(members: dict[str, str]) -> None:
    text = failover.render("web-1", members)
    assert "upstream peers" not in text
    assert "proxy_pass http://app;" in block(text, "server {\n        listen unix:")


def test_health_is_always_the_own_apps() -> None:
    settings = replace(WEB_BUNDLE.settings, live_path="/up", ready_path="/ready")
    site = nginx.render(
        settings, network="10.20.0.0/20", ipv6=True, certificate="c", key="k", with_peers=True
    )["nginx/site.conf"]
    assert re.findall(r"server unix:(\S+?)[; ]", block(site, "upstream own")) == ["/run/flotilla-app.sock"]
    chosen = block(site, 'map "$server_port $uri" $app')
    for line in ('"~^8100 " own;', '"443 /up" own;', '"443 /ready" own;'):
        assert line in chosen
    assert "proxy_pass http://own/ready;" in block(site, "location = /ready")


def test_a_bundle_without_peers_certificate_hands_nothing_on(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    site = host.read(f"{places.CURRENT}/nginx/site.conf") or ""
    assert failover.SOCKET not in site
    assert "default own;" in block(site, 'map "" $app')
    assert not any("failover" in line and " start " in line for line in host.lines())


def test_a_bundle_with_one_starts_it_before_nginx(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    done = give(host, WITH_PEERS)
    assert done.index(f"{failover.SERVICE} started") < done.index("nginx started")
    assert f"{failover.FOLLOWER} started" in done
    assert f"unix:{failover.SOCKET} backup" in (host.read(f"{places.CURRENT}/nginx/site.conf") or "")


def test_it_follows_what_members_show_and_ends_with_it(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WITH_PEERS)
    running(host)
    assert len(give(host, WITH_PEERS)) == 1
    other = replace(WITH_PEERS, secrets={**WITH_PEERS.secrets, "peer.crt": PEM + PEM})
    assert give(host, other)[1:] == [f"{failover.SERVICE} restarted"]
    assert {f"{unit} stopped" for unit in failover.UNITS} <= set(give(host, WEB_BUNDLE))


def test_a_peers_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    host.answer("openssl pkey", "another public key")
    secrets = {name: value for name, value in WITH_PEERS.secrets.items() if not name.startswith("tls")}
    with pytest.raises(MachineError, match=r"peer\.crt and peer\.key: .* another certificate"):
        give(host, replace(WITH_PEERS, secrets=secrets))


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.lay(places.MACHINE, WEB.to_json())
    return host


def listed(host: FakeHost, members: dict[str, str]) -> None:
    host.lay(places.PEERS, json.dumps({"peers": members}))


def test_the_list_of_peers_is_followed(host: FakeHost) -> None:
    assert failover.write(host) == "peers: none"
    listed(host, {"web-1": "10.20.0.2", "burst-1": "10.20.0.9"})
    assert failover.write(host) == "peers: burst-1"
    assert "server 10.20.0.9:8102" in (host.read(failover.CONFIGURATION) or "")


@pytest.mark.parametrize("text", ["{", '{"peers": {"web-2": "192.0.2.1"}}', '{"peers": {"web-2": "x; }"}}'])
def test_a_list_that_lies_changes_nothing_and_stops_no_start(host: FakeHost, text: str) -> None:
    host.lay(places.PEERS, text)
    assert failover.write(host) == "peers: none"
    listed(host, {"web-2": "10.20.0.3"})
    failover.write(host)
    before = host.read(failover.CONFIGURATION)
    host.lay(places.PEERS, text)
    with pytest.raises(ConfigError):
        failover.write(host)
    assert host.read(failover.CONFIGURATION) == before


def test_the_gate_asks_for_it_where_there_is_a_certificate(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    assert "failover" not in [check.name for check in checks_for(host, FakeClock(), WEB, WEB_BUNDLE.settings)]
    give(host, WITH_PEERS)
    [check] = [
        check for check in checks_for(host, FakeClock(), WEB, WEB_BUNDLE.settings) if check.name == "failover"
    ]
    host.answer("systemctl is-active", "active\nactive\n")
    host.lay("/proc/net/tcp", "  sl\n")
    assert check.ask() == "nothing listens on port 8102"
    host.lay("/proc/net/tcp", "  sl\n   0: 00000000:1FA6 00000000:0000 0A 0\n")
    assert check.ask() is None
    host.answer("systemctl is-active", "inactive\nactive\n")
    assert "flotilla-failover.service is " in (check.ask() or "")


def test_the_units_know_the_same_places() -> None:
    files = {file.path: file.content.decode() for file in common.tree_files("web")}
    units = "/etc/systemd/system/flotilla-failover"
    assert f"PathChanged={places.PEERS}" in files[f"{units}.path"]
    service = files[f"{units}.service"]
    assert f"-c {failover.CONFIGURATION} " in service
    for name in SHOWN:
        assert f"LoadCredential={name}:{places.SECRETS}/{name}" in service
    assert set(failover.UNITS) <= set(web.ARRANGED_UNITS)
    assert identity.PEER_NAME == failover.PEER_NAME
