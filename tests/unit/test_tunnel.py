"""The tunnel to a database behind a gateway: what ssh is told, the name that leads to it, and its health."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloudinit.roles import common, web
from fleet.config import DatabaseSettings, TunnelSettings
from fleet.machine import places, tunnel
from fleet.machine.checks import checks_for
from tests.unit.fake_machine import WEB, FakeClock, FakeHost, web_host
from tests.unit.test_receive import SITE, WEB_BUNDLE, give, running

NAME = "private-db.example.com"
GATEWAY = TunnelSettings(host="203.0.113.9", port=2222, user="tunnel", host_key="ssh-ed25519 " + "A" * 68)
BEHIND = replace(SITE, host=NAME, tunnel=GATEWAY)
TUNNELLED = replace(
    WEB_BUNDLE,
    settings=replace(WEB_BUNDLE.settings, database=BEHIND),
    secrets={
        **WEB_BUNDLE.secrets,
        "tunnel-key": "-----BEGIN OPENSSH PRIVATE KEY-----\nMIIB\n-----END OPENSSH PRIVATE KEY-----\n",
    },
)


def options(database: DatabaseSettings = BEHIND) -> dict[str, str]:
    """What ssh is told, by option; of an option given twice the last."""
    lines = tunnel.render(database)["tunnel/ssh_config"].splitlines()
    return dict(line.strip().split(" ", 1) for line in lines)


def test_the_gateway_is_known_by_its_key_alone() -> None:
    files = tunnel.render(BEHIND)
    assert files["tunnel/known_hosts"] == f"gateway {GATEWAY.host_key}\n"
    told = options()
    assert (told["HostName"], told["Port"], told["User"]) == ("203.0.113.9", "2222", "tunnel")
    assert told["StrictHostKeyChecking"] == "yes"
    assert told["UpdateHostKeys"] == "no"
    assert told["HostKeyAlias"] == "gateway"
    assert told["HostKeyAlgorithms"] == "ssh-ed25519"
    assert told["GlobalKnownHostsFile"] == "/dev/null"


def test_an_rsa_key_signs_by_sha_2_only() -> None:
    gateway = replace(GATEWAY, host_key="ssh-rsa " + "A" * 68)
    assert options(replace(BEHIND, tunnel=gateway))["HostKeyAlgorithms"] == "rsa-sha2-512,rsa-sha2-256"


def test_the_database_is_reached_on_its_own_port_of_this_machine_only() -> None:
    forwards = [
        line.strip()
        for line in tunnel.render(BEHIND)["tunnel/ssh_config"].splitlines()
        if "LocalForward" in line
    ]
    assert forwards == [
        f"LocalForward 127.0.0.1:3306 {NAME}:3306",
        f"LocalForward {tunnel.MONITOR} localhost:2222",
    ]
    assert options()["ExitOnForwardFailure"] == "yes"


def test_a_dead_session_is_given_up_in_ten_seconds() -> None:
    told = options()
    assert int(told["ServerAliveInterval"]) * int(told["ServerAliveCountMax"]) == 10


def test_the_databases_name_leads_to_the_tunnel_while_there_is_one(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    host.lay(tunnel.HOSTS, "127.0.0.1 localhost\n")
    give(host, TUNNELLED)
    for _ in range(2):
        tunnel.name(host, TUNNELLED.settings)
    hosts = host.read(tunnel.HOSTS) or ""
    assert hosts.splitlines()[0] == "127.0.0.1 localhost"
    assert hosts.count(f"127.0.0.1 {NAME} ") == 1
    other = replace(TUNNELLED.settings, database=replace(BEHIND, host="other.example.com"))
    give(host, replace(TUNNELLED, settings=other))
    assert NAME not in (host.read(tunnel.HOSTS) or "")
    running(host)
    give(host, WEB_BUNDLE)
    assert host.read(tunnel.HOSTS) == "127.0.0.1 localhost\n"


def test_it_is_there_before_the_app(tmp_path: Path) -> None:
    done = give(web_host(tmp_path), TUNNELLED)
    assert done.index(f"{tunnel.SERVICE} started") < done.index("app started")


def test_it_follows_its_gateway_and_key_and_ends_with_them(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, TUNNELLED)
    running(host)
    assert len(give(host, TUNNELLED)) == 1
    moved = replace(BEHIND, tunnel=replace(GATEWAY, host="203.0.113.10"))
    said = give(host, replace(TUNNELLED, settings=replace(TUNNELLED.settings, database=moved)))
    assert f"{tunnel.SERVICE} restarted" in said
    assert {f"{unit} stopped" for unit in tunnel.UNITS} <= set(give(host, WEB_BUNDLE))


def test_a_direct_database_has_none(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    assert not any("tunnel" in line for line in host.lines())
    assert not host.path(tunnel.HOSTS).exists()
    assert not host.path(f"{places.CURRENT}/tunnel").exists()


@contextmanager
def answering(listener: socket.socket, answer: bytes | None) -> Iterator[None]:
    """Who connects gets that and is hung up on, or with None hears nothing."""
    listener.listen(8)
    listener.settimeout(0.05)
    over = threading.Event()
    kept: list[socket.socket] = []

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            kept.append(connection)
            if answer is not None:
                connection.sendall(answer)
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)
        for plain in (listener, *kept):
            plain.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel, "SIGN_SECONDS", 0.1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("answer", "restarts"), [(b"SSH-2.0", 0), (b"", 0), (None, 1)], ids=["banner", "refused", "silent"]
)
def test_a_session_through_which_nothing_comes_is_opened_anew(
    tmp_path: Path, answer: bytes | None, restarts: int
) -> None:
    host = FakeHost(tmp_path)
    host.path(tunnel.MONITOR).parent.mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(host.path(tunnel.MONITOR)))
    with answering(listener, answer):
        said = tunnel.check(host)
    assert host.lines().count(f"systemctl restart {tunnel.SERVICE}") == restarts
    assert ("opened anew" in said) == bool(restarts)


def test_where_there_is_no_session_autossh_is_left_to_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    assert "autossh opens one" in tunnel.check(host)
    assert host.ran == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("answer", "fault"),
    [(b"N", None), (b"", f"the gateway cannot reach {NAME}"), (None, "does not answer: timed out")],
    ids=["answers", "refused", "silent"],
)
def test_the_gate_wants_the_database_to_answer(
    tmp_path: Path, answer: bytes | None, fault: str | None
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    database = replace(BEHIND, engine="postgresql", port=listener.getsockname()[1])
    settings = replace(WEB_BUNDLE.settings, database=database)
    checks = checks_for(web_host(tmp_path), FakeClock(), WEB, settings)
    names = [check.name for check in checks]
    assert names.index("tunnel") < names.index("app")
    with answering(listener, answer):
        said = checks[names.index("tunnel")].ask()
    assert said is None if fault is None else fault in (said or "")


def test_a_direct_database_is_not_asked_for_a_tunnel(tmp_path: Path) -> None:
    checks = checks_for(web_host(tmp_path), FakeClock(), WEB, WEB_BUNDLE.settings)
    assert "tunnel" not in [check.name for check in checks]


def test_the_units_know_the_same_places() -> None:
    files = {file.path: file.content.decode() for file in common.tree_files("web")}
    service = files["/etc/systemd/system/flotilla-tunnel.service"]
    for name in ("tunnel/ssh_config", "tunnel/known_hosts", "secrets/tunnel-key"):
        assert f"LoadCredential={name.rpartition('/')[2]}:{places.CURRENT}/{name}" in service
    assert f"RuntimeDirectory={Path(tunnel.MONITOR).parent.name}" in service
    assert set(tunnel.UNITS) <= set(web.ARRANGED_UNITS)
    assert "autossh" in web.PACKAGES
