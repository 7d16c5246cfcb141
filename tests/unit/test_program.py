"""The whole program, `__main__.py` as it stands, against mocked clouds."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.contradictions import PROJECT
from components.settings import KEYS
from tests.harness import Recording, World, deploy, distribution, snapshot
from tests.unit.test_settings import AUTOSCALER, good, with_value

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")


def run(config: dict[str, Any] | None = None, **arguments: Any) -> Recording:
    return deploy(main, config=config or good(), **arguments)


def refused(config: dict[str, Any] | None = None, **arguments: Any) -> list[str]:
    """The lines of the error that the program ends with."""
    with pytest.raises(pulumi.RunError) as error:
        run(config, **arguments)
    return [line.strip() for line in str(error.value).splitlines()[1:]]


def without_edge() -> dict[str, Any]:
    return with_value("edge", {"kind": "none", "zone": "foobar.com"})


def test_the_composition_root_is_short() -> None:
    assert len((ROOT / "__main__.py").read_text().splitlines()) <= 60


def test_outputs_name_site_members_and_database() -> None:
    outputs = run().stack_outputs()
    assert outputs["url"] == "https://www.foobar.com"
    assert sorted(outputs["members"]) == ["web-1", "web-2"]
    assert outputs["database"]["engine"] == "mysql"
    assert outputs["database"]["port"] == 3306
    assert outputs["database"]["host"].startswith("10.20.")


def test_members_are_proxied_by_cloudflare() -> None:
    record = run().named("web-1-dns")
    assert record.type == "cloudflare:index/dnsRecord:DnsRecord"
    assert record.inputs["name"] == "www.foobar.com"
    assert record.inputs["proxied"] is True
    assert record.inputs["ttl"] == 1
    assert record.inputs["comment"] == "flotilla dev web-1"


def test_without_an_edge_the_clouds_dns_names_the_members() -> None:
    recording = run(without_edge())
    assert recording.named("zone").inputs["name"] == "foobar.com"
    assert recording.named("web-1-dns").inputs["ttl"] == 60
    assert not [token for token, _ in recording.invokes if token.startswith("cloudflare")]


def test_the_database_is_ready_before_members_get_their_secrets() -> None:
    assert "database-1-gate" in run().upstream("web-1-secrets")


def test_lookups_do_not_grow_with_the_fleet() -> None:
    few, many = run(with_value("web.count", 1)), run(with_value("web.count", 12))
    assert [token for token, _ in few.invokes] == [token for token, _ in many.invokes]
    assert len(few.invokes) == 7


def test_images_are_looked_up_by_name() -> None:
    recording = run()
    assert recording.named("web-1").inputs["image"] == "101"
    assert recording.named("database-1").inputs["image"] == "102"


def test_of_several_images_with_one_name_the_newest_is_taken() -> None:
    world = World()
    world.images.append(snapshot("web", id=999, created="2026-11-22T00:00:00Z"))
    assert run(world=world).named("web-1").inputs["image"] == "999"


def test_a_distribution_keeps_its_name_and_brings_the_site(tmp_path: Path) -> None:
    (tmp_path / "site.py").write_text("app = None\n")
    config = with_value("web.image", "debian-13-x64")
    config["app"] = {"directory": str(tmp_path), "callable": "site:app"}
    recording = run(config)
    assert recording.named("web-1").inputs["image"] == "debian-13-x64"
    assert "archive" in json.loads(recording.named("web-1-secrets").plain("stdin"))


@pytest.mark.parametrize(
    ("path", "value", "says", "fix"),
    [
        ("cloud.region", "lon2", 'flotilla:cloud.region = "lon2": the cloud has no such region', "lon1"),
        (
            "web.size",
            "s-1vcpu-1g",
            'flotilla:web.size = "s-1vcpu-1g": the cloud has no such size',
            "s-1vcpu-1gb",
        ),
        (
            "web.size",
            "c-999",
            'flotilla:web.size = "c-999": the cloud has no such size',
            "there are: s-1vcpu-512mb",
        ),
        ("database.size", "s-9", 'flotilla:database.size = "s-9": the cloud has no such size', "s-"),
        ("web.image", "web-2026.01.01-ffff", 'flotilla:web.image = "web-2026.01.01-ffff"', "fleet bake web"),
        ("web.image", 424242, 'flotilla:web.image = "424242": there is no such image', "web-2026.11.21-3f2a"),
        ("web.image", "debian-31-x64", 'flotilla:web.image = "debian-31-x64"', "there is no such image"),
    ],
)
def test_what_the_cloud_does_not_have_is_refused(path: str, value: Any, says: str, fix: str) -> None:
    lines = refused(with_value(path, value))
    assert lines[0].startswith(says)
    assert fix in lines[0]


def test_all_that_is_missing_is_reported_at_once() -> None:
    config = good()
    config["web"]["size"] = "c-9"
    config["database"]["image"] = "database-2020.01.01-00"
    world = World(zones=(), ranges=())
    lines = refused(config, world=world)
    for part in ("web.size", "database.image", "zones named foobar.com", "address ranges"):
        assert any(part in line for line in lines), part


def test_nothing_is_made_when_something_is_missing() -> None:
    recordings: list[Recording] = []
    with pytest.raises(pulumi.RunError):
        deploy(main, config=with_value("web.size", "c-9"), record=recordings.append)
    assert recordings[0].resources == []


def test_an_image_elsewhere_is_refused() -> None:
    world = World(images=[snapshot("web", regions=["fra1"]), snapshot("database"), distribution()])
    (line,) = refused(world=world)
    assert line.endswith("is in fra1 and not in lon1; bake it there")


def test_an_image_too_large_for_the_size_is_refused() -> None:
    world = World(images=[snapshot("web", minDiskSize=80), snapshot("database")])
    (line,) = refused(world=world)
    assert "needs a disk of 80 GiB and s-1vcpu-1gb has 25" in line


@pytest.mark.parametrize(
    ("ranges", "says"),
    [
        ((), "only 0 IPv4 addresses"),
        (("173.245.48.0/24",), "only 256 IPv4 addresses"),
        (("0.0.0.0/0",), "0.0.0.0/0 is so wide"),
        (("104.0.0.0/2", "104.16.0.0/13"), "is not a range of addresses"),
        (("104.16.0.0/13", "10.0.0.0/8"), "10.0.0.0/8 is not a public range"),
        (("104.16.0.0/13", "nonsense"), "'nonsense' is not a range"),
    ],
)
def test_unbelievable_edge_ranges_are_an_error(ranges: tuple[str, ...], says: str) -> None:
    lines = refused(world=World(ranges=ranges))
    assert any(says in line for line in lines)


def test_an_edge_range_open_to_all_of_ipv6_is_an_error() -> None:
    (line,) = refused(world=World(ranges_v6=("::/0",)))
    assert "::/0 is so wide" in line


@pytest.mark.parametrize("lookup", ["getSizes", "getImages", "getZones", "getIpRanges"])
def test_a_cloud_that_does_not_answer_is_one_line_with_what_to_check(lookup: str) -> None:
    (line,) = refused(world=World(failing=frozenset({lookup})))
    cloud = "CLOUDFLARE" if lookup in ("getZones", "getIpRanges") else "DIGITALOCEAN"
    assert f"{cloud}_API_TOKEN" in line or f"{cloud}_TOKEN" in line


def test_a_missing_site_is_refused_before_a_slow_boot_shows_it() -> None:
    config = with_value("web.image", "debian-13-x64") | {"app": {"directory": "no-such-place"}}
    (line,) = refused(config)
    assert line.startswith("flotilla:app: ")
    assert "no-such-place" in line


def test_no_secret_stands_in_any_plain_input() -> None:
    recording = run()
    secrets = json.loads(recording.named("web-1-secrets").plain("stdin"))["secrets"]
    identity_texts = [*secrets.values(), good()["seed"]]
    for resource in recording.resources:
        shown = json.dumps({key: value for key, value in resource.inputs.items() if not _is_marked(value)})
        for text in identity_texts:
            assert json.dumps(text)[1:-1] not in shown, resource.name
        assert "PRIVATE KEY" not in shown, resource.name


def _is_marked(value: Any) -> bool:
    return isinstance(value, dict) and "4dabf18193072939515e22adb298388d" in value


def test_the_cloudflare_sdk_is_imported_only_for_its_edge() -> None:
    code = (
        "import sys; from tests.unit.test_program import *; "
        "run(without_edge()); sys.exit('pulumi_cloudflare' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_committed_stack_files_have_only_known_keys(stack: str) -> None:
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    own = {key.removeprefix(f"{PROJECT}:") for key in config if key.startswith(f"{PROJECT}:")}
    assert own <= set(KEYS)


@pytest.mark.parametrize(("stack", "members"), [("dev", 1), ("prod", 3)])
def test_a_committed_stack_needs_only_what_init_and_bake_add(stack: str, members: int) -> None:
    committed = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    config = {key.removeprefix(f"{PROJECT}:"): value for key, value in committed.items()}
    config["web"]["image"] = good()["web"]["image"]
    if stack == "prod":
        assert config["database"]["kind"] == "managed"
        config["autoscaler"]["image"] = AUTOSCALER["image"]
        config |= {"controllerCloudToken": "cloud", "controllerEdgeToken": "edge"}
    else:
        config["database"]["image"] = good()["database"]["image"]
    config["seed"] = good()["seed"]
    assert len(run(config, stack=stack).stack_outputs()["members"]) == members


def test_the_committed_stacks_share_neither_zone_nor_network() -> None:
    """Strict TLS and origin pulls are settings of a whole zone."""
    configs = [
        yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"] for stack in ("dev", "prod")
    ]
    for section, key in (("edge", "zone"), ("cloud", "network")):
        assert len({config[f"{PROJECT}:{section}"][key] for config in configs}) == 2
