"""`fleet images`, `fleet images prune` and `fleet promote`: who uses an image, what may go, what may be pinned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fleet import cli, prune, stack_files
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.image_list import Listed, listing
from fleet.promote import Promotion, promote
from fleet.pulumi_cli import Project, PulumiCli

OLD, MIDDLE, NEW = (f"web-2026.11.{day}-3f2a9c41b07e2d11" for day in (19, 20, 21))


def an_image(name: str, number: int, **more: Any) -> dict[str, Any]:
    day = name.split("-")[1].replace(".", "-") if name.count("-") == 2 else "2026-11-01"
    return {
        "id": number,
        "name": name,
        "slug": None,
        "regions": ["lon1"],
        "created_at": f"{day}T10:00:00Z",
        "size_gigabytes": 0.5,
        **more,
    }


def a_droplet(name: str, image: dict[str, Any], *tags: str) -> dict[str, Any]:
    return {"id": 1, "name": name, "image": image, "tags": list(tags)}


class Account:
    """Images and droplets, and what was deleted."""

    def __init__(self) -> None:
        self.images = [
            an_image(OLD, 224001),
            an_image(MIDDLE, 224002),
            an_image(NEW, 224003),
            an_image("database-2026.11.19-00000000", 224004),
            an_image("my backup", 224005),
        ]
        self.droplets: list[dict[str, Any]] = []
        self.deleted: list[str] = []

    def every(self, _path: str, key: str, tag_name: str = "", **_: object) -> Iterator[dict[str, Any]]:
        if key == "images":
            yield from self.images
        else:
            yield from (droplet for droplet in self.droplets if not tag_name or tag_name in droplet["tags"])

    def delete(self, path: str) -> None:
        self.deleted.append(path)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    found = Account()
    monkeypatch.setattr(DigitalOcean, "from_environment", lambda: found)
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "Pulumi.yaml").write_text("name: flotilla\n")
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path, "flotilla")


def write(project: Project, stack: str, **sections: Any) -> None:
    config = {f"flotilla:{key}": value for key, value in sections.items()}
    project.config_file(stack).write_text(yaml.safe_dump({"config": config}))


def run(*arguments: str, expect: int = 0) -> Any:
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == expect, done.output
    return done


def test_an_image_is_in_use_by_any_key_of_any_stack_and_by_any_droplet() -> None:
    account = Account()
    configs: dict[str, dict[str, Any]] = {
        "dev": {"flotilla:web": {"image": NEW}},
        "prod": {"flotilla:web": {"image": 224003, "rollout": {"partial": {"through": 1, "rest": MIDDLE}}}},
        "pr-7": {"flotilla:later": [{"golden": "224004"}]},
    }
    rows = listing(account.images, configs, [a_droplet("web-1-3fa2c1b", account.images[0])])
    assert [(row.name, row.used_by) for row in rows] == [
        (NEW, ("dev (web.image)", "prod (web.image)")),
        (MIDDLE, ("prod (web.rollout.partial.rest)",)),
        (OLD, ("droplet web-1-3fa2c1b",)),
        ("database-2026.11.19-00000000", ("pr-7 (later[0].golden)",)),
    ]
    assert (rows[0].content, rows[0].manifest, rows[3].manifest) == ("3f2a9c41", "b07e2d11", "")


def test_the_list_tells_age_and_users_and_json_is_for_scripts(account: Account, project: Project) -> None:
    write(project, "dev", web={"image": NEW})
    lines = run("images").stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].endswith("lon1  dev (web.image)")
    assert lines[1].endswith("not in use")
    assert [row["name"] for row in json.loads(run("images", "-s", "dev", "--json").stdout)] == [NEW]
    assert "there is no Pulumi.nope.yaml" in str(
        CliRunner().invoke(cli.app, ["images", "-s", "nope"]).exception
    )


def row(name: str, *users: str) -> Listed:
    role = name.partition("-")[0]
    return Listed(role, name, name, "", "", "2026-11-21T10:00:00Z", 0.5, ("lon1",), users)


def test_the_newest_of_each_role_stay_and_what_is_in_use_always() -> None:
    rows = [row("web-4"), row("database-2"), row("web-3"), row("web-2", "prod (web.image)"), row("web-1")]
    planned = prune.plan([*rows, row("database-1")], keep=1)
    assert [image.name for image in planned.delete] == ["web-3", "web-1", "database-1"]
    assert [(image.name, why) for image, why in planned.keep] == [
        ("web-4", "one of the newest 1 of web"),
        ("database-2", "one of the newest 1 of database"),
        ("web-2", "used by prod (web.image)"),
    ]


def test_nothing_is_deleted_without_a_yes(account: Account, project: Project) -> None:
    write(project, "dev", web={"image": OLD})
    done = run("images", "prune", "--keep", "1")
    assert f"delete  {MIDDLE}" in done.stderr
    assert "Nothing was deleted; `fleet images prune --keep 1 --yes` does it" in done.stderr
    report = json.loads(run("images", "prune", "--keep", "1", "--json").stdout)
    assert (report["deleted"], [item["name"] for item in report["delete"]]) == (False, [MIDDLE])
    assert account.deleted == []


def test_yes_deletes_what_nobody_uses_and_nothing_else(account: Account, project: Project) -> None:
    write(project, "dev", web={"image": OLD})
    done = run("images", "prune", "--keep", "1", "--yes")
    assert account.deleted == ["/v2/images/224002"]
    assert f"Deleted {MIDDLE} (0.50 GB)" in done.stderr
    account.images.pop(1)
    assert "There is nothing to delete" in run("images", "prune", "--keep", "1", "--yes").stderr


def test_a_stack_file_that_cannot_be_read_stops_the_pruning(account: Account, project: Project) -> None:
    project.config_file("prod").write_text("config: [")
    done = CliRunner().invoke(cli.app, ["images", "prune", "--keep", "1", "--yes"])
    assert "Pulumi.prod.yaml is not YAML" in str(done.exception)
    assert account.deleted == []


def test_at_least_one_image_of_each_role_is_kept(account: Account, project: Project) -> None:
    run("images", "prune", "--keep", "0", expect=2)


class FilePulumi(PulumiCli):
    """Reads and writes the files that `pulumi config` would."""

    def config(self, stack: str) -> dict[str, Any]:
        return stack_files.config(self.project, stack)

    def set_config(self, stack: str, path: str, value: str) -> None:
        key, _, inner = path.partition(".")
        config = self.config(stack)
        config.setdefault(key, {})[inner] = value
        self.project.config_file(stack).write_text(yaml.safe_dump({"config": config}))


def promoted(project: Project, account: Account, **more: Any) -> list[str]:
    said: list[str] = []
    promote(FilePulumi(project), account, Promotion("web", "dev", "prod", **more), said.append)  # type: ignore[arg-type]  # an account in memory
    return said


@pytest.fixture
def stacks(project: Project, account: Account) -> Project:
    """dev runs NEW, prod names OLD."""
    write(project, "dev", web={"image": NEW})
    write(project, "prod", web={"image": OLD}, cloud={"region": "lon1"})
    account.droplets = [a_droplet("web-1-3fa2c1b", account.images[2], "dev", "dev-web")]
    return project


def test_a_tested_image_is_pinned(stacks: Project, account: Account) -> None:
    assert promoted(stacks, account) == [f"Stack prod now names {NEW} for web; it was {OLD}"]
    assert stack_files.config(stacks, "prod")["flotilla:web"] == {"image": NEW}
    assert promoted(stacks, account) == [f"Stack prod has {NEW} for web already"]


def test_an_image_that_the_first_stack_does_not_run_is_refused_unless_said(
    stacks: Project, account: Account
) -> None:
    account.droplets[0]["image"] = account.images[0]
    with pytest.raises(FleetError, match=rf"dev has not tested {NEW}: its web droplets run {OLD}; first"):
        promoted(stacks, account)
    account.droplets = []
    with pytest.raises(FleetError, match="run no droplet at all"):
        promoted(stacks, account)
    assert stack_files.config(stacks, "prod")["flotilla:web"] == {"image": OLD}
    promoted(stacks, account, untested=True)
    assert stack_files.config(stacks, "prod")["flotilla:web"] == {"image": NEW}


def test_an_image_of_another_region_is_refused(stacks: Project, account: Account) -> None:
    write(stacks, "prod", web={"image": OLD}, cloud={"region": "fra1"})
    with pytest.raises(FleetError, match=rf"{NEW} of stack dev is not in fra1, .*`fleet bake web -s prod`"):
        promoted(stacks, account)


@pytest.mark.parametrize("image", [None, "debian-13-x64", "database-2026.11.19-00000000"])
def test_only_a_baked_image_of_the_role_can_be_promoted(
    stacks: Project, account: Account, image: str | None
) -> None:
    write(stacks, "dev", web={"image": image})
    with pytest.raises(
        FleetError, match=r"only an image that `fleet bake web -s dev` has made can be promoted"
    ):
        promoted(stacks, account)


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_rollout_under_way_is_not_disturbed(stacks: Project, account: Account, stack: str) -> None:
    partial = {"image": NEW, "rollout": {"partial": {"through": 1, "rest": OLD}}}
    write(stacks, stack, web=partial, cloud={"region": "lon1"})
    with pytest.raises(FleetError, match=rf"stack {stack} is in the middle of a rollout"):
        promoted(stacks, account)
