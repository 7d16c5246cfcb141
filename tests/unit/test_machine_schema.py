"""The schema of machine.json and the secret bundle: what is refused, and how clearly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.config import Bundle, ConfigError, DatabaseSettings, Inbound, MachineConfig, Settings

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"

MACHINE = MachineConfig(
    stack="dev",
    role="web",
    slot="web-1",
    network="10.20.0.0/20",
    inbound=(Inbound(protocol="tcp", port=443, sources=("edge",)),),
    processes=("nginx.service",),
    ports=(443,),
)
BUNDLE = Bundle(
    settings=Settings(
        database=DatabaseSettings(engine="mysql", host="10.20.0.5", port=3306, name="site", user="site"),
        server_names=("www.foobar.com",),
        edge_ranges=("173.245.48.0/20", "2400:cb00::/32"),
    ),
    secrets={"database-password": "opensesame", "database-ca.pem": CERTIFICATE},
)


def bundle_with(path: str, value: object) -> str:
    """BUNDLE's JSON with the value at a dotted path changed."""
    document: dict[str, Any] = json.loads(BUNDLE.to_json())
    *parents, last = path.split("/")
    target = document
    for key in parents:
        target = target[key]
    target[last] = value
    return json.dumps(document)


def test_a_machine_survives_json() -> None:
    assert MachineConfig.from_json(MACHINE.to_json()) == MACHINE


def test_a_bundle_survives_json() -> None:
    assert Bundle.from_json(BUNDLE.to_json(), "web") == BUNDLE


def test_equal_bundles_have_equal_digests_whatever_the_order_of_their_secrets() -> None:
    turned = replace(BUNDLE, secrets=dict(reversed(list(BUNDLE.secrets.items()))))
    assert turned.digest() == BUNDLE.digest()


def test_a_bundle_does_not_show_its_secrets() -> None:
    assert "opensesame" not in repr(BUNDLE)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("settings/edge_ranges", ["0.0.0.0/0"], "edge_ranges[0]"),
        ("settings/edge_ranges", ["2400::/8"], "let everybody in"),
        ("settings/edge_ranges", ["10.0.0.1/8"], "host bits"),
        ("settings/edge_ranges", "173.245.48.0/20", "must be a list"),
        ("settings/server_names", [], "server_names is empty"),
        ("settings/server_names", ["a; return 200"], "not a host name"),
        ("settings/server_names", ["www.foobar.com\n"], "not a host name"),
        ("settings/release", "x\n", "release"),
        ("settings/databse", {}, "unknown key 'databse'"),
        ("settings/database/port", 0, "from 1 to 65535"),
        ("settings/database/port", True, "from 1 to 65535"),
        ("settings/database/user", "x'; drop", "database.user"),
        ("settings/database/engine", "oracle", "one of 'mysql', 'postgresql'"),
        ("settings/origin_pull_ca", "x", "not PEM"),
        ("secrets/tls.key", KEY, "tls.crt is missing"),
        ("secrets/../../etc/passwd", "x", "bundle"),
        ("secrets/database-password", "a\nb", "cannot be printed"),
        ("secrets/database-password", "", "not empty"),
        ("secrets/database-ca.pem", CERTIFICATE + "evil", "not PEM"),
        ("secrets", {}, "database-ca.pem, database-password missing"),
        ("secrets", [], "must be an object"),
        ("extra", 1, "unknown key 'extra'"),
    ],
)
def test_a_wrong_bundle_is_refused_with_the_key(path: str, value: object, message: str) -> None:
    text = bundle_with(path, value) if ".." not in path else json.dumps({"secrets": {path: "x"}})
    with pytest.raises(ConfigError, match=message.replace("[", r"\[").replace("]", r"\]")):
        Bundle.from_json(text, "web")


OPENSSH_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nMIIB\n-----END OPENSSH PRIVATE KEY-----\n"
GATEWAY = {"host": "203.0.113.9", "port": 22, "user": "tunnel", "host_key": "ssh-ed25519 " + "A" * 68}


def tunnelled(**gateway: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(BUNDLE.to_json())
    database = {"host": "private-db.example.com", "tunnel": {**GATEWAY, **gateway}}
    document["settings"]["database"] |= database
    document["secrets"]["tunnel-key"] = OPENSSH_KEY
    return document


def test_a_tunnel_survives_json() -> None:
    bundle = Bundle.from_json(json.dumps(tunnelled()), "web")
    assert bundle.settings.database
    assert bundle.settings.database.tunnel
    assert bundle.settings.database.tunnel.user == "tunnel"
    assert Bundle.from_json(bundle.to_json(), "web") == bundle


@pytest.mark.parametrize(
    ("gateway", "message"),
    [
        ({"host": "a b"}, "tunnel.host"),
        ({"port": 0}, "tunnel.port"),
        ({"user": "-oProxyCommand=x"}, "tunnel.user"),
        ({"host_key": "ssh-ed25519 A\n* ssh-ed25519 " + "B" * 68}, "tunnel.host_key"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_a_wrong_gateway_is_refused(gateway: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bundle.from_json(json.dumps(tunnelled(**gateway)), "web")


def test_a_tunnel_needs_a_key_of_its_own_and_a_name_for_the_database() -> None:
    for path, value, message in (
        ("host", "10.20.0.5", "database.host is '10.20.0.5'"),
        ("tunnel", None, "names no tunnel"),
    ):
        document = tunnelled()
        document["settings"]["database"][path] = value
        with pytest.raises(ConfigError, match=message):
            Bundle.from_json(json.dumps(document), "web")
    for key, message in ((None, "tunnel-key missing"), (KEY, "tunnel-key is not PEM")):
        document = tunnelled()
        document["secrets"]["tunnel-key"] = key
        if key is None:
            del document["secrets"]["tunnel-key"]
        with pytest.raises(ConfigError, match=message):
            Bundle.from_json(json.dumps(document), "web")


def test_a_bundle_that_needs_no_tunnel_says_nothing_of_it() -> None:
    assert "tunnel" not in BUNDLE.to_json()
    assert "tunnel" not in BUNDLE.settings.to_json()


def test_members_show_each_other_a_certificate_with_its_key_and_authority() -> None:
    with pytest.raises(ConfigError, match=r"peer-ca\.pem, peer\.key is missing"):
        Bundle.from_json(bundle_with("secrets/peer.crt", CERTIFICATE), "web")


def test_a_refused_secret_is_not_quoted() -> None:
    with pytest.raises(ConfigError) as error:
        Bundle.from_json(bundle_with("secrets/database-password", "hush\nhush"), "web")
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"a":1,"a":2}', '{"a":NaN}', b"\xff\xfe"])
def test_what_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(ConfigError):
        Bundle.from_json(text, "web")


def test_a_machine_with_an_unknown_role_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"machine\.json\.role is 'proxy'"):
        MachineConfig.from_json(MACHINE.to_json().replace('"role": "web"', '"role": "proxy"'))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
paths = st.sampled_from(
    [
        "settings",
        "secrets",
        "settings/database",
        "settings/database/host",
        "settings/server_names",
        "settings/edge_ranges",
        "secrets/database-password",
        "secrets/app-key",
    ]
)


@given(path=paths, value=anything)
def test_a_hostile_bundle_is_refused_or_harmless(path: str, value: object) -> None:
    try:
        bundle = Bundle.from_json(bundle_with(path, value), "web")
    except ConfigError:
        return
    assert Bundle.from_json(bundle.to_json(), "web") == bundle
    assert all("/" not in name and ".." not in name for name in bundle.secrets)
    assert all("\n" not in text or "-----BEGIN" in text for text in bundle.secrets.values())


@given(st.binary(max_size=300))
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigError):
        Bundle.from_json(data, "web")
