"""flotilla-receive: what a bundle does to a machine, and that a bad one does nothing."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.config import Bundle, ConfigError, DatabaseSettings, Settings
from fleet.machine import edge_set, nginx, nginx_process, places
from fleet.machine.host import MachineError, Result
from fleet.machine.receive import receive
from tests.unit.fake_machine import DATABASE, NGINX, FakeClock, FakeHost, lay_nginx_worker, web_host

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"
SITE = DatabaseSettings(engine="mysql", host="10.20.0.5", port=3306, name="site", user="site")
WEB_BUNDLE = Bundle(
    settings=Settings(database=SITE, server_names=("www.foobar.com",), edge_ranges=("173.245.48.0/20",)),
    secrets={"database-password": "hush", "database-ca.pem": PEM, "tls.crt": PEM, "tls.key": KEY},
)
DATABASE_BUNDLE = Bundle(
    settings=Settings(database=SITE),
    secrets={
        "database-password": "it's \\ hush",
        "database-ca.pem": PEM,
        "database-server.crt": PEM,
        "database-server.key": KEY,
    },
)


def give(host: FakeHost, bundle: Bundle) -> list[str]:
    return receive(host, FakeClock(), bundle.to_json().encode())


def running(host: FakeHost) -> None:
    """From now on every unit is active."""
    host.answer("systemctl is-active")
    host.ran.clear()


def test_a_first_bundle_starts_the_site(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    assert give(host, WEB_BUNDLE)[1:] == [
        "app started",
        "certificate laid",
        "nginx started",
        "flotilla-fence.service started",
        "flotilla-edge-ranges.timer started",
    ]
    assert host.lines().index("nginx -t -q") < host.lines().index("systemctl start nginx.service")


def test_secrets_are_for_root_only(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    secret = host.path(f"{places.SECRETS}/database-password")
    assert secret.read_text() == "hush"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert all(
        stat.S_IMODE(path.stat().st_mode) == 0o700
        for path in host.path(places.BUNDLES).rglob("*")
        if path.is_dir()
    )


def test_no_secret_is_in_an_argument(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    assert not any("hush" in line for line in host.lines())


def test_settings_hold_no_secret(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    assert Settings.from_json(host.read(places.SETTINGS) or "") == WEB_BUNDLE.settings


def test_the_same_bundle_again_touches_no_service(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    running(host)
    assert give(host, WEB_BUNDLE)[0].endswith("unchanged")
    assert not any("restart" in line or "reload" in line for line in host.lines())


def test_a_new_password_restarts_the_app_and_leaves_nginx(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    running(host)
    done = give(host, replace(WEB_BUNDLE, secrets={**WEB_BUNDLE.secrets, "database-password": "new"}))
    assert done[1:] == ["app restarted"]
    assert host.path(places.FENCE_EXCUSE).exists()


def test_a_new_certificate_is_shown_without_a_reload(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    running(host)
    done = give(host, replace(WEB_BUNDLE, secrets={**WEB_BUNDLE.secrets, "tls.crt": PEM + PEM}))
    assert done[1:] == ["certificate laid"]
    assert host.read(places.SITE_CERTIFICATE) == f"{PEM}{PEM}{KEY}"
    assert not any("reload" in line for line in host.lines())


def test_a_certificate_can_be_read_by_nginx_and_nobody_else(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    assert stat.S_IMODE(host.path(places.SITE_CERTIFICATE).stat().st_mode) == 0o640
    secrets = {name: WEB_BUNDLE.secrets[name] for name in ("database-password", "database-ca.pem")}
    give(host, replace(WEB_BUNDLE, secrets=secrets))
    assert not host.path(places.SITE_CERTIFICATE).exists()


def test_nginx_is_a_lame_duck_during_a_reload_only(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    running(host)
    seen = []

    def still_lame(_: tuple[str, ...]) -> Result:
        seen.append(host.path(places.LAME_DUCK).exists())
        lay_nginx_worker(host, 199, NGINX)
        host.path("/proc/100/cmdline").unlink()
        return Result(0, "", "")

    host.react("systemctl reload", still_lame)
    give(host, replace(WEB_BUNDLE, settings=replace(WEB_BUNDLE.settings, server_names=("foobar.com",))))
    assert seen == [True]
    assert not host.path(places.LAME_DUCK).exists()


@pytest.mark.parametrize(("idle", "seconds"), [(0, 0.0), (3, 10.0)])
def test_a_reload_waits_for_idle_connections_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: int, seconds: float
) -> None:
    host, clock = web_host(tmp_path), FakeClock()
    visitor = "   0: 0A001414:01BB 0930F5AD:C001 01 0\n"
    host.lay("/proc/net/tcp", f"  sl  local_address rem_address   st\n{visitor}")
    monkeypatch.setattr(nginx_process, "status", lambda: nginx_process.Status(in_flight=5, idle=idle))
    began = clock.now()
    nginx_process.reload_gently(host, clock)
    assert clock.now() - began == pytest.approx(seconds, abs=0.3)


def test_a_reload_that_nginx_does_not_take_is_an_error(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    running(host)
    host.answer("systemctl reload")
    with pytest.raises(MachineError, match="did not take its new configuration"):
        give(host, replace(WEB_BUNDLE, settings=replace(WEB_BUNDLE.settings, server_names=("foobar.com",))))


def test_an_old_secret_does_not_stay_on_disk(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    give(host, replace(WEB_BUNDLE, secrets={**WEB_BUNDLE.secrets, "database-password": "new"}))
    assert not any(path.is_file() and "hush" in path.read_text() for path in tmp_path.rglob("*"))


def test_what_nginx_refuses_is_taken_back(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    before = host.read(places.SETTINGS)
    host.answer("nginx -t", code=1, error="nginx: [emerg] no")
    with pytest.raises(MachineError, match="no"):
        give(host, replace(WEB_BUNDLE, settings=replace(WEB_BUNDLE.settings, server_names=("foobar.com",))))
    assert host.read(places.SETTINGS) == before


def test_a_key_of_another_certificate_is_refused_before_anything_changes(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    host.answer("openssl pkey", "another public key")
    with pytest.raises(MachineError, match="another certificate"):
        give(host, WEB_BUNDLE)
    assert not host.path(places.CURRENT).exists()


def test_a_run_that_died_before_the_services_followed_is_finished_by_the_next(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    running(host)
    changed = replace(WEB_BUNDLE, secrets={**WEB_BUNDLE.secrets, "database-password": "new"})
    host.answer("systemctl restart", code=1, error="killed")
    with pytest.raises(MachineError):
        give(host, changed)
    host.answer("systemctl restart")
    assert give(host, changed)[1:] == ["app restarted"]


def test_without_a_certificate_the_member_makes_its_own(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    secrets = {name: WEB_BUNDLE.secrets[name] for name in ("database-password", "database-ca.pem")}
    give(host, replace(WEB_BUNDLE, secrets=secrets))
    assert any(line.startswith("openssl req -x509") and "DNS:www.foobar.com" in line for line in host.lines())


def test_app_secrets_reach_the_app_under_their_own_name(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, replace(WEB_BUNDLE, secrets={**WEB_BUNDLE.secrets, "app-session-key": "k"}))
    assert host.read(f"{places.CURRENT}/app/session-key") == "k"


def test_edge_ranges_fill_the_set_and_none_empties_it(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    assert "add element inet flotilla edge4 { 173.245.48.0/20 }" in (host.read(edge_set.RULES) or "")
    assert "set_real_ip_from 173.245.48.0/20;" in (host.read(edge_set.CLIENT_ADDRESS) or "")
    give(host, replace(WEB_BUNDLE, settings=replace(WEB_BUNDLE.settings, edge_ranges=())))
    assert "add element" not in (host.read(edge_set.RULES) or "")
    assert "real_ip" not in (host.read(edge_set.CLIENT_ADDRESS) or "")


def test_ranges_that_came_after_the_bundle_stay_until_the_bundles_change(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    edge_set.lay(host, ("104.16.0.0/13",))
    edge_set.settle(host, ("104.16.0.0/13",))
    give(host, WEB_BUNDLE)
    give(host, replace(WEB_BUNDLE, secrets={**WEB_BUNDLE.secrets, "database-password": "new"}))
    assert edge_set.load(host) == ("104.16.0.0/13",)
    give(host, replace(WEB_BUNDLE, settings=replace(WEB_BUNDLE.settings, edge_ranges=("172.64.0.0/13",))))
    assert edge_set.load(host) == ("172.64.0.0/13",)


def test_new_edge_ranges_reload_nginx(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    give(host, WEB_BUNDLE)
    running(host)
    changed = replace(WEB_BUNDLE.settings, edge_ranges=("172.64.0.0/13",))
    assert give(host, replace(WEB_BUNDLE, settings=changed))[1:] == ["nginx reloaded"]


def test_an_origin_pull_authority_shuts_out_everybody_else() -> None:
    files = nginx.render(
        replace(WEB_BUNDLE.settings, origin_pull_ca=PEM),
        network="10.20.0.0/20",
        ipv6=True,
        certificate="c",
        key="k",
    )
    site = files["nginx/site.conf"]
    assert "ssl_verify_client on;" in site
    assert "if ($refused) { return 444; }" in site
    assert "return 421" not in site
    assert files["nginx/origin-pull-ca.pem"] == PEM


def test_health_checks_leave_no_line_whatever_their_paths() -> None:
    settings = replace(WEB_BUNDLE.settings, live_path="/same", ready_path="/same")
    site = nginx.render(settings, network="10.20.0.0/20", ipv6=True, certificate="c", key="k")[
        "nginx/site.conf"
    ]
    assert site.count('"0 /same" 0;') == 1


def test_peers_are_answered_from_the_vpc_only() -> None:
    site = nginx.render(WEB_BUNDLE.settings, network="10.20.0.0/20", ipv6=True, certificate="c", key="k")[
        "nginx/site.conf"
    ]
    assert "    default 1;\n    10.20.0.0/20 0;" in site
    assert "proxy_pass http://own/readyz;" in site


def test_a_machine_without_ipv6_listens_on_ipv4_only() -> None:
    assert (
        "[::]"
        not in nginx.render(
            WEB_BUNDLE.settings, network="10.20.0.0/20", ipv6=False, certificate="c", key="k"
        )["nginx/site.conf"]
    )


def database_host(root: Path) -> FakeHost:
    host = FakeHost(root)
    host.lay(places.MACHINE, DATABASE.to_json())
    host.lay("/proc/meminfo", "MemTotal:        1000000 kB\n")
    host.answer("openssl", "one public key")
    cards = [{"addr_info": [{}, {"local": "198.18.0.9"}]}, {"addr_info": [{"local": "10.20.0.5"}]}]
    host.answer("ip -json", json.dumps(cards))
    return host


def test_a_database_listens_in_the_vpc_only_and_by_tls(tmp_path: Path) -> None:
    host = database_host(tmp_path)
    give(host, DATABASE_BUNDLE)
    configured = host.read("/etc/mysql/mariadb.conf.d/99-flotilla.cnf") or ""
    assert "bind-address = 10.20.0.5\n" in configured
    assert "require-secure-transport = ON" in configured


def test_the_sites_user_comes_from_the_vpc_with_rights_on_its_database_only(tmp_path: Path) -> None:
    host = database_host(tmp_path)
    give(host, DATABASE_BUNDLE)
    sql = next(text for argv, text in host.fed.items() if argv[0] == "mariadb")
    assert "'site'@'10.20.0.0/255.255.240.0' IDENTIFIED BY 'it''s \\\\ hush' REQUIRE SSL" in sql
    assert "ON `site`.* TO" in sql
    assert "*.*" not in sql


def test_a_database_machine_of_another_engine_is_refused(tmp_path: Path) -> None:
    host = database_host(tmp_path)
    other = replace(DATABASE_BUNDLE, settings=Settings(database=replace(SITE, engine="postgresql")))
    with pytest.raises(MachineError, match="image is for 'mysql'"):
        give(host, other)


def test_a_bundle_for_no_machine_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"machine\.json is missing"):
        give(FakeHost(tmp_path), WEB_BUNDLE)


@given(data=st.binary(max_size=400) | st.text(max_size=400).map(lambda text: json.dumps(text).encode()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_hostile_input_changes_nothing(tmp_path: Path, data: bytes) -> None:
    host = web_host(tmp_path)
    with pytest.raises(ConfigError):
        receive(host, FakeClock(), data)
    assert not host.ran
    assert not host.path(places.CURRENT).exists()


def test_an_endless_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than"):
        receive(web_host(tmp_path), FakeClock(), b" " * (4 * 1024 * 1024 + 1))
