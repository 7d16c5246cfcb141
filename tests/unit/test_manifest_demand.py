"""A stack demands of each member the manifest that its image's name tells, and the gate holds it to that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components import values
from components.preflight import BootImage
from fleet import image
from fleet.config import Settings
from fleet.machine import checks, manifest, places
from fleet.machine.checks import BrokenError
from fleet.reading import ConfigError
from tests.harness import Recording, World, deploy, distribution, snapshot
from tests.unit.fake_machine import FakeHost
from tests.unit.test_program import run
from tests.unit.test_settings import good
from tests.unit.tiers import make_site, make_web

NAME = "web-2026.11.21-3f2a9c41b07e2d11"


@pytest.mark.parametrize(
    "name", [NAME, f"{NAME}beef", "web-2026.11.21-3f2a", "web-2026.11.21-3f2a9c41", "mine"]
)
def test_the_program_reads_names_as_the_bake_gives_them(name: str) -> None:
    parsed = image.Name.parse(name)
    assert values.manifest_of(name) == (parsed.manifest if parsed else "")


def demanded(recording: Recording, slot: str) -> str:
    settings: dict[str, Any] = json.loads(recording.named(f"{slot}-secrets").plain("stdin"))["settings"]
    return str(settings["manifest"])


def test_web_and_database_are_held_to_the_manifests_of_their_images() -> None:
    world = World(
        images=[
            distribution(),
            snapshot("web", name=NAME),
            snapshot("database", name="database-2026.11.21-77c0aaaa5b5b5b5b"),
        ]
    )
    config = good()
    config["web"]["image"] = NAME
    config["database"]["image"] = "database-2026.11.21-77c0aaaa5b5b5b5b"
    recording = run(config, world=world)
    assert (demanded(recording, "web-1"), demanded(recording, "database-1")) == ("b07e2d11", "5b5b5b5b")


def test_an_image_whose_name_tells_none_is_taken_as_it_is() -> None:
    assert demanded(run(), "web-1") == ""


def test_in_a_partial_rollout_each_slot_is_held_to_its_own_image() -> None:
    new = BootImage(id="101", from_scratch=False, manifest="b07e2d11")
    old = BootImage(id="100", from_scratch=False, manifest="00000000")
    recording = deploy(lambda: make_web(make_site(), count=2, through=1, image=new, rest=old))
    assert [demanded(recording, f"web-{number}") for number in (1, 2)] == ["b07e2d11", "00000000"]


def test_the_gate_refuses_a_machine_whose_manifest_begins_otherwise(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.answer("dpkg-query", "ii  nginx:amd64 1.0\n")
    host.lay(places.MANIFEST, json.dumps(manifest.observe(host)))
    digest = manifest.read(host)["digest"]
    assert checks.manifest_equal(host, Settings(manifest=digest[:8])) is None
    other = "0" * 8 if digest[0] != "0" else "1" * 8
    with pytest.raises(BrokenError, match=rf"manifest is {digest}, the stack asks for {other}"):
        checks.manifest_equal(host, Settings(manifest=other))


@pytest.mark.parametrize("text", ["b07e", "not hexadecimal", "b" * 65])
def test_a_demand_that_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="manifest"):
        Settings.from_json(Settings(manifest=text).to_json())
