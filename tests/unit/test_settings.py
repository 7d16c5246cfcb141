"""Reading a stack's config: what is right becomes settings, what is wrong becomes one clear line each."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest

from components import settings
from components.schema import CloudflareSettings, PlainDnsSettings

SEED = base64.b64encode(bytes(range(32))).decode()
IMAGE = "web-2026.11.21-3f2a"
DATABASE_IMAGE = "database-2026.11.21-77c0"
NO_VARIABLES: Mapping[str, str] = {}
OLD_IMAGE = "web-2026.11.20-aaaa"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF4biUIKgAhoBDuaKU1QA3+MLY0pht+w0gSMOPBPLNG+ me"


def good() -> dict[str, Any]:
    return {
        "domain": "www.foobar.com",
        "cloud": {"name": "digitalocean", "region": "lon1", "network": "10.20.0.0/20"},
        "admin": {"cidrs": ["203.0.113.7/32"], "ssh_keys": [PUBLIC_KEY]},
        "web": {"count": 2, "size": "s-1vcpu-1gb", "image": IMAGE},
        "database": {
            "kind": "self-hosted",
            "engine": "mysql",
            "size": "s-1vcpu-1gb",
            "image": DATABASE_IMAGE,
            "volume_gib": 1,
        },
        "edge": {"kind": "cloudflare", "zone": "foobar.com"},
        "seed": SEED,
    }


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The good config with one value replaced, e.g. at `web.count`; a value of None removes the key."""
    config = good()
    *parents, last = path.split(".")
    place = config
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return config


def read(
    config: dict[str, Any],
    stack: str = "dev",
    secret: frozenset[str] = frozenset({"flotilla:seed"}),
    environment: Mapping[str, str] = NO_VARIABLES,
) -> settings.Settings:
    full = {
        key if ":" in key else f"flotilla:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in config.items()
    }
    return settings.read(stack, full, secret, environment)


def mistakes(config: dict[str, Any], **arguments: Any) -> list[str]:
    """The lines of the error without their indentation."""
    with pytest.raises(pulumi.RunError) as refused:
        read(config, **arguments)
    return [line.strip() for line in str(refused.value).splitlines()[1:]]


def test_a_good_config_is_read() -> None:
    result = read(good())
    assert result.domain == "www.foobar.com"
    assert result.cloud.network == ipaddress.ip_network("10.20.0.0/20")
    assert result.admin.cidrs == (ipaddress.ip_network("203.0.113.7/32"),)
    assert result.web.count == 2
    assert result.self_hosted is not None
    assert result.self_hosted.volume_gib == 1
    assert result.managed is None
    assert isinstance(result.edge, CloudflareSettings)
    assert result.edge.propagation_seconds == 300
    assert result.identity.seed == bytes(range(32))


def test_without_an_edge_the_cloud_names_the_members() -> None:
    result = read(with_value("edge", {"kind": "none"}))
    assert isinstance(result.edge, PlainDnsSettings)
    assert result.edge.propagation_seconds == 60


def test_settings_cannot_be_changed() -> None:
    result = read(good())
    with pytest.raises(Exception, match="frozen"):
        result.web.count = 5


@pytest.mark.parametrize(("stack", "protected"), [("dev", False), ("prod", True)])
def test_production_is_protected_and_others_are_not(stack: str, protected: bool) -> None:
    assert read(good(), stack=stack).protect is protected
    assert read(good() | {"protect": not protected}, stack=stack).protect is not protected


def test_an_image_may_be_a_snapshots_number() -> None:
    assert read(with_value("web.image", 12345)).web.image == "12345"
    assert read(with_value("web.image", "12345")).web.image == "12345"


WRONG: list[tuple[str, Any, str, str]] = [
    # path, value (None removes it), what the line says, and a word of the fix
    ("domain", None, "flotilla:domain is missing", "for example www.foobar.com"),
    ("domain", "", 'flotilla:domain = ""', "must not be empty"),
    ("domain", "https://www.foobar.com", 'flotilla:domain = "https://www.foobar.com"', "without scheme"),
    ("domain", "WWW.foobar.com", 'flotilla:domain = "WWW.foobar.com"', "lower case"),
    ("domain", "foo_bar.com", 'flotilla:domain = "foo_bar.com"', "full domain name such as"),
    ("domain", "localhost", 'flotilla:domain = "localhost"', "full domain name such as"),
    ("domain", "www.other.com", 'flotilla:edge.zone = "foobar.com"', "such as other.com"),
    ("cloud", None, "flotilla:cloud is missing", "for example {region: lon1"),
    ("cloud.name", "digitalozean", 'flotilla:cloud.name = "digitalozean"', "did you mean digitalocean?"),
    ("cloud.region", "London", 'flotilla:cloud.region = "London"', "such as lon1"),
    ("cloud.network", "10.20.0.0/33", 'flotilla:cloud.network = "10.20.0.0/33"', "such as"),
    (
        "cloud.network",
        "10.20.0.1/20",
        'flotilla:cloud.network = "10.20.0.1/20"',
        "did you mean 10.20.0.0/20?",
    ),
    ("cloud.network", "8.8.8.0/24", 'flotilla:cloud.network = "8.8.8.0/24"', "private IPv4 range"),
    ("cloud.network", "10.0.0.0/8", 'flotilla:cloud.network = "10.0.0.0/8"', "between /16 and /28"),
    ("admin.cidrs", [], "flotilla:admin.cidrs = []", "for example [203.0.113.7/32]"),
    ("admin.cidrs", ["0.0.0.0/0"], 'flotilla:admin.cidrs[0] = "0.0.0.0/0"', "whole internet"),
    ("admin.cidrs", ["203.0.113.7/32", "::/0"], 'flotilla:admin.cidrs[1] = "::/0"', "whole internet"),
    ("admin.cidrs", ["10.0.0.0/8"], 'flotilla:admin.cidrs[0] = "10.0.0.0/8"', "wider than /16"),
    (
        "admin.cidrs",
        ["203.0.113.300/32"],
        'flotilla:admin.cidrs[0] = "203.0.113.300/32"',
        "such as 203.0.113.7/32",
    ),
    ("admin.cidrs", "203.0.113.7/32", 'flotilla:admin.cidrs = "203.0.113.7/32"', "list"),
    ("admin.cidrs", [22], "flotilla:admin.cidrs[0] = 22", "must be text"),
    ("admin.ssh_keys", ["AAAAC3"], 'flotilla:admin.ssh_keys[0] = "AAAAC3"', "ssh-ed25519 AAAA"),
    ("admin.ssh_keys", ["ssh-ed25519 AAAA"], 'flotilla:admin.ssh_keys[0] = "ssh-ed25519 AAAA"', "whole line"),
    ("admin.ssh_key", [PUBLIC_KEY], "flotilla:admin.ssh_key is not a known key", "did you mean ssh_keys?"),
    ("web", 3, "flotilla:web = 3", "must be an object, for example {count: 3"),
    ("web", "three", 'flotilla:web = "three"', "must be an object"),
    ("web.count", 0, "flotilla:web.count = 0", "from 1 to 1000"),
    ("web.count", 10_000, "flotilla:web.count = 10000", "from 1 to 1000"),
    ("web.count", -1, "flotilla:web.count = -1", "from 1 to 1000"),
    ("web.count", "3", 'flotilla:web.count = "3"', "whole number"),
    ("web.count", 2.5, "flotilla:web.count = 2.5", "whole number"),
    ("web.count", True, "flotilla:web.count = true", "whole number"),
    ("web.count", None, "flotilla:web.count is missing", "for example 3"),
    ("web.size", None, "flotilla:web.size is missing", "for example s-1vcpu-1gb"),
    ("web.size", 1, "flotilla:web.size = 1", "must be text"),
    ("web.size", "1 GB", 'flotilla:web.size = "1 GB"', "such as s-1vcpu-1gb"),
    ("web.image", None, "flotilla:web.image is missing", "fleet bake web"),
    ("web.image", "Debian 13", 'flotilla:web.image = "Debian 13"', "debian-13-x64"),
    ("web.image", DATABASE_IMAGE, f'flotilla:web.image = "{DATABASE_IMAGE}"', "fleet bake web"),
    ("web.cuont", 3, "flotilla:web.cuont is not a known key", "did you mean count?"),
    ("web.drain", {"quiet_secs": 1}, "flotilla:web.drain.quiet_secs is not a known key", "quiet_seconds?"),
    ("web.drain", {"cap_seconds": 0}, "flotilla:web.drain.cap_seconds = 0", "1 to 3600"),
    ("web.rollout", {"mode": "in-place"}, 'flotilla:web.rollout.mode = "in-place"', "did you mean in_place?"),
    ("web.rollout", {"canary": 5}, "flotilla:web.rollout.canary is not a known key", "canary_seconds?"),
    ("web.rollout", {"canary_seconds": 7200}, "flotilla:web.rollout.canary_seconds = 7200", "0 to 3600"),
    (
        "web.rollout",
        {"partial": {"trough": 1, "rest": IMAGE, "through": 1}},
        "flotilla:web.rollout.partial.trough is not a known key",
        "did you mean through?",
    ),
    (
        "web.rollout",
        {"partial": {"through": 1}},
        "flotilla:web.rollout.partial.rest is missing",
        "for example web-2026.11.20-aaaa",
    ),
    (
        "web.rollout",
        {"partial": {"through": 2, "rest": OLD_IMAGE}},
        "flotilla:web.rollout.partial.through = 2: leaves none of the 2 members",
        "remove web.rollout.partial",
    ),
    (
        "web.rollout",
        {"partial": {"through": 1, "rest": IMAGE}},
        f'flotilla:web.rollout.partial.rest = "{IMAGE}": is web.image too',
        "remove web.rollout.partial",
    ),
    (
        "web.rollout",
        {"partial": {"through": 1, "rest": DATABASE_IMAGE}},
        f'flotilla:web.rollout.partial.rest = "{DATABASE_IMAGE}": is an image of the role database',
        "fleet bake web",
    ),
    ("cloud.ipv6", "yes", 'flotilla:cloud.ipv6 = "yes"', "true or false"),
    ("edge.rotation", 0, "flotilla:edge.rotation = 0", "from 1 to 10000"),
    ("database", None, "flotilla:database is missing", "kind: self-hosted"),
    ("database.kind", None, "flotilla:database.kind is missing", "self-hosted"),
    ("database.kind", "selfhosted", 'flotilla:database.kind = "selfhosted"', "did you mean self-hosted?"),
    ("database.kind", 7, "flotilla:database.kind = 7", "self-hosted or managed"),
    ("database.engine", "postgres", 'flotilla:database.engine = "postgres"', "did you mean postgresql?"),
    ("database.volume_gib", 0, "flotilla:database.volume_gib = 0", "from 1 to 16384"),
    ("database.password", "hunter2", "flotilla:database.password is not a known key", "known here: kind"),
    ("edge.kind", "cloudflair", 'flotilla:edge.kind = "cloudflair"', "did you mean cloudflare?"),
    ("edge.zone", None, "flotilla:edge.zone is missing", "for example foobar.com"),
    ("edge.propagation_seconds", 86_400, "flotilla:edge.propagation_seconds = 86400", "0 to 3600"),
    ("protect", "yes", 'flotilla:protect = "yes"', "true or false"),
    ("force", ["everything"], 'flotilla:force = ["everything"]', "managed-database"),
    ("seed", None, "flotilla:seed is missing", "fleet init dev"),
    ("seed", "c2hvcnQ=", "flotilla:seed = [hidden]", "fleet init"),
    ("dommain", "a.com", "flotilla:dommain is not a known key", "did you mean domain?"),
    ("Web", {}, "flotilla:Web is not a known key", "did you mean web?"),
    ("zzz", "1", "flotilla:zzz is not a known key", "known: domain, cloud"),
    ("digitalocean:token", "dop_v1_00", "digitalocean:token is a secret but stands in plain", "--secret"),
    ("cloudflare:apiToken", "abc", "cloudflare:apiToken is a secret but stands in plain", "revoke it"),
]


@pytest.mark.parametrize(("path", "value", "names", "fix"), WRONG, ids=[f"{c[0]}={c[1]}" for c in WRONG])
def test_a_mistake_is_one_line_with_key_value_and_fix(path: str, value: Any, names: str, fix: str) -> None:
    (line,) = mistakes(with_value(path, value))
    assert line.startswith(names)
    assert fix in line


def test_a_fleet_that_does_not_fit_its_network_is_refused() -> None:
    config = with_value("cloud.network", "10.20.0.0/28")
    assert read(config)
    config["web"]["count"] = 6
    (line,) = mistakes(config)
    assert line.startswith('flotilla:cloud.network = "10.20.0.0/28": has room for 12 machines')


def test_a_fleet_that_is_replaced_in_place_needs_no_room_for_twice_its_size() -> None:
    config = with_value("cloud.network", "10.20.0.0/28")
    config["web"] |= {"count": 6, "rollout": {"mode": "in_place"}}
    assert read(config).web.rollout.mode == "in_place"


def test_a_single_member_cannot_be_replaced_in_place() -> None:
    config = with_value("web.count", 1)
    config["web"]["rollout"] = {"mode": "in_place"}
    (line,) = mistakes(config)
    assert line.startswith('flotilla:web.rollout.mode = "in_place"')
    assert "nobody would serve" in line


def test_a_rollout_is_by_surge_with_a_canary_unless_told_otherwise() -> None:
    rollout = read(good()).web.rollout
    assert (rollout.mode, rollout.canary_seconds, rollout.partial) == ("surge", 30, None)


def test_the_rest_of_a_partial_rollout_must_be_pinned_in_production() -> None:
    partial = {"through": 1, "rest": "debian-13-x64"}
    config = with_value("web.rollout", {"partial": partial})
    assert read(config).web.rollout.partial
    (line,) = mistakes(config, stack="prod")
    assert line.startswith('flotilla:web.rollout.partial.rest = "debian-13-x64": production needs an image')


def test_a_nested_key_set_without_path_is_explained() -> None:
    config = good() | {"web.count": 3}
    (line,) = mistakes(config)
    assert line.startswith("flotilla:web.count is not a known key")
    assert "pulumi config set --path flotilla:web.count" in line


def test_a_seed_in_plain_is_refused_and_not_shown() -> None:
    (line,) = mistakes(good(), secret=frozenset())
    assert "flotilla:seed is a secret but stands in plain" in line
    assert SEED not in line


def test_an_empty_config_names_every_key_with_an_example() -> None:
    lines = mistakes({})
    assert [line.split()[0] for line in lines] == [
        f"flotilla:{key}" for key in ("domain", "cloud", "admin", "web", "database", "edge", "seed")
    ]
    assert all("for example" in line or "fleet init" in line for line in lines)


def test_all_mistakes_are_reported_at_once() -> None:
    config = good()
    config["domain"] = "http://x"
    config["web"] = {"cuont": 3, "size": "?", "image": IMAGE}
    config["admin"]["cidrs"] = ["0.0.0.0/0", "nonsense"]
    lines = mistakes(config)
    assert sorted(line.split()[0] for line in lines) == [
        "flotilla:admin.cidrs[0]",
        "flotilla:admin.cidrs[1]",
        "flotilla:domain",
        "flotilla:web.count",
        "flotilla:web.cuont",
        "flotilla:web.size",
    ]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("admin.ssh_keys", ["-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk"]),
        ("web.size", "dop_v1_" + "0" * 64),
        ("web.image", "A" * 43),
        ("database.password", "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_never_repeated(path: str, value: Any) -> None:
    (line,) = mistakes(with_value(path, value))
    secret = value[0] if isinstance(value, list) else value
    assert secret not in line
    assert "b3BlbnNzaC1rZXk" not in line


def test_values_of_an_encrypted_section_are_hidden() -> None:
    (line,) = mistakes(with_value("web.count", 0), secret=frozenset({"flotilla:seed", "flotilla:web"}))
    assert line.startswith("flotilla:web.count = [hidden]")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("web.count", 1, "flotilla:web.count = 1: production needs 2 members"),
        ("web.image", "debian-13-x64", 'flotilla:web.image = "debian-13-x64": production needs an image'),
        ("database.image", "debian-13-x64", 'flotilla:database.image = "debian-13-x64": production needs'),
    ],
)
def test_production_refuses_what_dev_may_do(path: str, value: Any, says: str) -> None:
    config = with_value(path, value)
    assert read(config, stack="dev")
    (line,) = mistakes(config, stack="prod")
    assert line.startswith(says)


MANAGED = {"kind": "managed", "engine": "mysql", "nodes": 2, "size": "db-s-1vcpu-2gb"}
AUTOSCALER = {"size": "s-1vcpu-1gb", "image": "autoscaler-2026.11.21-5d1e", "max": 10, "target_cpu": 60}
TOKENS = {"DIGITALOCEAN_TOKEN": "cloud", "CLOUDFLARE_API_TOKEN": "edge"}


def test_dev_refuses_a_managed_database_and_an_autoscaler() -> None:
    lines = mistakes(good() | {"database": MANAGED, "autoscaler": AUTOSCALER}, environment=TOKENS)
    assert any(line.startswith('flotilla:database.kind = "managed": costs money') for line in lines)
    assert any(line.startswith("flotilla:autoscaler is set: only production") for line in lines)


def test_forced_dev_is_not_lectured_about_money() -> None:
    config = good() | {
        "database": MANAGED,
        "autoscaler": AUTOSCALER,
        "force": ["managed-database", "autoscaler"],
    }
    assert read(config, environment=TOKENS).autoscaler


def test_a_name_of_the_controllers_tokens_in_plain_is_refused_and_not_shown() -> None:
    config = good() | {"controllerCloudToken": "hunter2"}
    (line,) = mistakes(config)
    assert line.startswith("flotilla:controllerCloudToken is a secret but stands in plain")
    assert "hunter2" not in line


@pytest.mark.parametrize("stack", ["Dev", "my.stack", "a" * 41, "dev-"])
def test_a_stack_name_that_cannot_be_a_tag_is_refused(stack: str) -> None:
    (line,) = mistakes(good(), stack=stack)
    assert stack in line


@pytest.mark.parametrize("garbage", ["{", "[1, 2]", "null", '"text"', "\x00", "9" * 5000, "{}" * 100])
@pytest.mark.parametrize(
    "key", ["cloud", "admin", "web", "database", "edge", "autoscaler", "datastore", "app", "force"]
)
def test_garbage_never_becomes_a_traceback(key: str, garbage: str) -> None:
    with pytest.raises(pulumi.RunError, match=f"flotilla:{key}"):
        read(good() | {key: garbage})
