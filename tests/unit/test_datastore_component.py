"""The config datastore: a private bucket, a key for each role that opens nothing else, and members that are told."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import yaml

from fleet.config import Bundle, MachineConfig
from tests.harness import Recording, is_secret
from tests.unit.test_program import run
from tests.unit.test_settings import good, mistakes, read
from tests.unit.tiers import IDENTITY


def with_store(**section: Any) -> dict[str, Any]:
    return good() | {"datastore": section}


@cache
def usual() -> Recording:
    """The program with a datastore, built once, as nobody changes a recording."""
    return run(with_store())


def told(recording: Recording) -> dict[str, Any]:
    bundle: dict[str, Any] = json.loads(recording.named("web-1-secrets").plain("stdin"))
    return bundle


def test_the_bucket_is_private_versioned_and_not_named_by_hand() -> None:
    bucket = usual().named("datastore-bucket")
    assert bucket.type == "digitalocean:index/spacesBucket:SpacesBucket"
    assert bucket.inputs["acl"] == "private"
    assert bucket.inputs["versioning"] == {"enabled": True}
    assert bucket.inputs["region"] == "lon1"
    assert "name" not in bucket.inputs


def test_what_nobody_writes_for_a_day_goes_and_old_versions_of_what_is_written_every_minute() -> None:
    (rule,) = usual().named("datastore-bucket").inputs["lifecycleRules"]
    assert (rule["enabled"], rule["prefix"]) == (True, "ips/")
    assert rule["noncurrentVersionExpiration"] == {"days": 1}
    assert rule["expiration"] == {"days": 1}


def test_production_does_not_lose_it_and_dev_leaves_nothing_behind() -> None:
    for stack, production in (("prod", True), ("dev", False)):
        bucket = run(with_store(), stack=stack).named("datastore-bucket")
        assert bucket.protect is production
        assert bucket.inputs["forceDestroy"] is not production


def test_it_may_be_in_another_region() -> None:
    recording = run(with_store(region="fra1"))
    assert recording.named("datastore-bucket").inputs["region"] == "fra1"
    assert told(recording)["settings"]["datastore"]["endpoint"] == "https://fra1.digitaloceanspaces.com"


def test_each_role_that_the_stack_has_gets_a_key_to_this_bucket_only() -> None:
    recording = usual()
    (key,) = recording.of_type("digitalocean:index/spacesKey:SpacesKey")
    assert key.name == "datastore-web"
    bucket = recording.named("datastore-bucket")
    assert key.inputs["grants"] == [{"bucket": "datastore-bucket-0a1b2c3", "permission": "readwrite"}]
    assert key.property_dependencies["grants"] == {bucket.urn}


def test_members_are_told_where_it_is_and_what_opens_it() -> None:
    recording = usual()
    bundle = told(recording)
    assert bundle["settings"]["datastore"] == {
        "endpoint": "https://lon1.digitaloceanspaces.com",
        "bucket": "datastore-bucket-0a1b2c3",
        "region": "lon1",
    }
    secrets = bundle["secrets"]
    assert secrets["datastore-access-key"].startswith("DO00")
    assert secrets["datastore-secret-key"].startswith("opens-the-bucket")
    assert secrets["datastore-seal-key"] == IDENTITY.seal_key()
    assert recording.named("datastore-bucket").urn in recording.named("web-1-secrets").dependencies


def test_members_understand_what_they_are_told() -> None:
    bundle = told(usual())
    del bundle["secrets"]["tls.crt"], bundle["secrets"]["tls.key"]
    assert Bundle.from_json(json.dumps(bundle), "web").settings.datastore


def test_no_key_is_in_plain_anywhere() -> None:
    for resource in usual().resources:
        plain = json.dumps({key: value for key, value in resource.inputs.items() if not is_secret(value)})
        assert "opens-the-bucket" not in plain, resource.name


def inbound(config: dict[str, Any]) -> dict[int, tuple[str, ...]]:
    document = yaml.safe_load(run(config).named("web-1").plain("userData"))
    (machine,) = [file for file in document["write_files"] if file["path"].endswith("machine.json")]
    return {rule.port: rule.sources for rule in MachineConfig.from_json(machine["content"]).inbound}


def test_machines_let_each_other_in_by_sets_that_it_fills() -> None:
    assert inbound(with_store())[8101] == ("role:web",)
    assert inbound(good())[8101] == ("10.20.0.0/20",)


def test_ssh_among_the_stacks_machines_does_not_hang_on_it() -> None:
    assert "10.20.0.0/20" in inbound(with_store())[22]


def test_without_it_nothing_of_it_is_there() -> None:
    recording = run()
    assert not [name for name in recording.names() if name.startswith("datastore")]
    assert "datastore" not in told(recording)["settings"]


def test_its_mistakes_are_named() -> None:
    (line,) = mistakes(with_store(bucket="mine"))
    assert line.startswith("flotilla:datastore.bucket is not a known key")
    (line,) = mistakes(with_store(region="London"))
    assert line.startswith('flotilla:datastore.region = "London"')
    assert read(with_store()).datastore
