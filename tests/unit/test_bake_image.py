"""What goes into an image, what it is called, and when it need not be baked."""

from __future__ import annotations

import os
import socket
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudinit import roles
from components.schema import AppSettings
from components.values import ROLE_IMAGE
from fleet import baking_machine, image
from fleet.bake import region_of
from fleet.baking_machine import Keys, droplet_name, is_abandoned, user_data
from fleet.errors import FleetError
from fleet.image import Recipe

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
RECIPE = Recipe("web", "#cloud-config\npackages: [nginx]\n", b"archive", "3f2a9c41")


def an_image(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "name": name,
        "slug": None,
        "regions": ["lon1"],
        "created_at": "2026-11-21T10:00:00Z",
        "size_gigabytes": 0.5,
        **more,
    }


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A project directory with a site of its own."""
    (tmp_path / "app" / "visits").mkdir(parents=True)
    (tmp_path / "app" / "visits" / "wsgi.py").write_text("app = None\n")
    return tmp_path


def test_the_same_content_gives_the_same_digest_and_other_content_another(site: Path) -> None:
    first = image.recipe("web", {}, "flotilla", site)
    assert image.recipe("web", {}, "flotilla", site) == first
    (site / "app" / "visits" / "wsgi.py").write_text("app = 1\n")
    assert image.recipe("web", {}, "flotilla", site).digest != first.digest


def test_the_database_recipe_follows_the_engine(tmp_path: Path) -> None:
    mysql = image.recipe("database", {"flotilla:database": {"engine": "mysql"}}, "flotilla", tmp_path)
    postgresql = image.recipe(
        "database", {"flotilla:database": {"engine": "postgresql"}}, "flotilla", tmp_path
    )
    assert "mariadb-server" in mysql.user_data
    assert "mariadb-server" not in postgresql.user_data


def test_a_managed_database_has_no_image(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="kind is managed"):
        image.recipe("database", {"flotilla:database": {"kind": "managed"}}, "flotilla", tmp_path)


def test_a_site_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=r"flotilla:app: the app's directory .*nowhere does not exist"):
        image.recipe("web", {"flotilla:app": {"directory": "nowhere"}}, "flotilla", tmp_path)


def test_the_sites_defaults_are_those_of_the_program() -> None:
    settings = AppSettings()
    assert (settings.directory, settings.callable) == (image.APP_DIRECTORY, image.APP_CALLABLE)


@pytest.mark.parametrize("edition", ["", "07be"])
def test_a_name_tells_role_day_and_digest_and_the_program_takes_it(edition: str) -> None:
    name = RECIPE.name(DAY, "b07e2d11" * 8, edition=edition)
    assert name == f"web-2026.11.21-3f2a9c41b07e2d11{edition}"
    assert ROLE_IMAGE.fullmatch(name)
    assert image.Name.parse(name) == image.Name("web", "2026.11.21", "3f2a9c41", "b07e2d11")


@pytest.mark.parametrize(
    ("text", "content"), [("3f2a", "3f2a"), ("3f2a9c41", "3f2a9c41"), ("3f2a9c41beef", "3f2a9c41")]
)
def test_names_from_before_the_manifest_was_in_them_are_known(text: str, content: str) -> None:
    assert image.Name.parse(f"web-2026.11.21-{text}") == image.Name("web", "2026.11.21", content, "")


@pytest.mark.parametrize(
    "text", ["my backup", "web-2026.11.21", "web-2026.11.21-xyz", "proxy-2026.11.21-3f2a"]
)
def test_other_names_are_no_images_of_ours(text: str) -> None:
    assert image.Name.parse(text) is None


def test_everything_that_goes_in_is_in_the_digest(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = image.recipe("web", {}, "flotilla", site).digest
    for name, value in (("CLEAN", "true"), ("DISTRIBUTION", "debian-14-x64")):
        with monkeypatch.context() as patched:
            patched.setattr(image, name, value)
            assert image.recipe("web", {}, "flotilla", site).digest != first, name
    with monkeypatch.context() as patched:
        # What a machine runs, not only which packages it asks for.
        patched.setattr(roles.web, "digest", lambda _: "0" * 64)
        assert image.recipe("web", {}, "flotilla", site).digest != first
    assert image.recipe("web", {}, "flotilla", site).digest == first


def test_the_newest_image_of_the_recipe_in_the_region_is_found() -> None:
    images = [
        an_image("web-2026.11.19-3f2a9c41", created_at="2026-11-19T10:00:00Z"),
        an_image("web-2026.11.20-3f2a9c41beef", created_at="2026-11-20T10:00:00Z"),
        an_image("web-2026.11.21-3f2a9c41", regions=["nyc3"], created_at="2026-11-21T10:00:00Z"),
        an_image("web-2026.11.21-00000000", created_at="2026-11-21T10:00:00Z"),
        an_image("database-2026.11.21-3f2a9c41", created_at="2026-11-21T10:00:00Z"),
        an_image("Debian 13", slug="debian-13-x64"),
    ]
    found = RECIPE.made(images, "lon1")
    assert found is not None
    assert found["name"] == "web-2026.11.20-3f2a9c41beef"
    assert RECIPE.made(images, "fra1") is None


@pytest.mark.parametrize("named", ["web-2026.11.21-3f2a9c41", "7", "debian-13-x64"])
def test_an_image_exists_by_name_number_or_slug(named: str) -> None:
    images = [an_image("web-2026.11.21-3f2a9c41"), an_image("13 x64", id=8, slug="debian-13-x64")]
    assert image.exists(named, images, "lon1")
    assert not image.exists(named, images, "nyc3")


def test_a_role_without_an_image_is_refused() -> None:
    with pytest.raises(
        FleetError, match="'backup' is no role with an image; there are: web, database, autoscaler"
    ):
        image.checked_role("backup")


@pytest.mark.parametrize(
    ("config", "roles"),
    [
        ({}, ["web", "database"]),
        ({"flotilla:database": {"kind": "self-hosted"}}, ["web", "database"]),
        (
            {"flotilla:database": {"kind": "managed"}, "flotilla:autoscaler": {"max": 5}},
            ["web", "autoscaler"],
        ),
    ],
)
def test_a_stack_needs_images_of_the_machines_it_has(config: dict[str, Any], roles: list[str]) -> None:
    assert image.needed(config, "flotilla") == roles


def test_a_stack_without_a_region_cannot_be_baked_for() -> None:
    with pytest.raises(FleetError, match=r"flotilla:cloud\.region is not set"):
        region_of({}, "flotilla")


def test_user_data_pins_both_sides_for_the_time_of_the_bake() -> None:
    keys = Keys.generate("bake")
    document = yaml.safe_load(user_data(RECIPE, keys))
    assert document["packages"] == ["nginx"]
    assert document["ssh_keys"]["ed25519_public"] == keys.host_public
    assert document["ssh_authorized_keys"] == [keys.login_public]
    assert keys.login_private not in user_data(RECIPE, keys)


def test_cleaning_removes_every_identity() -> None:
    for trace in ("ssh_host_", "authorized_keys", "--machine-id", "--logs", "random-seed"):
        assert trace in image.CLEAN


def a_droplet(name: str, age: timedelta = timedelta(minutes=1)) -> dict[str, Any]:
    return {"id": 1, "name": name, "created_at": (NOW - age).isoformat()}


def test_a_droplet_of_a_dead_bake_on_this_desk_is_abandoned_at_once() -> None:
    droplet = a_droplet(droplet_name(RECIPE))
    assert is_abandoned(droplet, now=NOW, alive=lambda _: False)
    assert not is_abandoned(droplet, now=NOW, alive=lambda _: True)


def test_a_droplet_of_another_desk_is_abandoned_by_its_age() -> None:
    name = "bake-web-3f2a9c41-ffffff-12"
    assert not is_abandoned(a_droplet(name), now=NOW, alive=lambda _: False)
    assert is_abandoned(a_droplet(name, timedelta(hours=3)), now=NOW, alive=lambda _: False)


def test_a_droplet_that_no_bake_made_is_never_abandoned() -> None:
    assert not is_abandoned(a_droplet("web-1-3fa2c1b", timedelta(days=9)), now=NOW, alive=lambda _: False)


def test_a_bakes_droplet_tells_desk_and_process() -> None:
    assert droplet_name(RECIPE) == f"bake-web-3f2a9c41-{baking_machine.desk()}-{os.getpid()}"
    assert socket.gethostname() not in droplet_name(RECIPE) or len(socket.gethostname()) < 3
