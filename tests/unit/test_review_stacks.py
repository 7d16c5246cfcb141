"""Stack config made ready for a cloud that lasts for one preview, and the copies of the project it is tried in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from review import checkouts, stacks

COMMITTED: dict[str, Any] = {
    "encryptionsalt": "v1:theirs",
    "secretsprovider": "awskms://key",
    "config": {
        "flotilla:seed": {"secure": "v1:abc"},
        "flotilla:cloud": {"region": "lon1"},
        "flotilla:web": {"count": 3, "rollout": {"partial": {"through": 2, "rest": "web-old"}}},
        "flotilla:database": {"kind": "managed"},
        "flotilla:edge": {"kind": "cloudflare", "zone": "foobar.com"},
    },
}


def test_secrets_of_others_are_left_out_and_replaced_by_those_of_the_sandbox() -> None:
    bare = stacks.without_secrets(COMMITTED)
    assert set(bare) == {"config"}
    assert "flotilla:seed" not in bare["config"]
    own = {"encryptionsalt": "v1:ours", "config": {"flotilla:seed": {"secure": "v1:ours"}}}
    seeded = stacks.with_secrets_of(COMMITTED, own)
    assert seeded["encryptionsalt"] == "v1:ours"
    assert "secretsprovider" not in seeded
    assert seeded["config"]["flotilla:seed"] == {"secure": "v1:ours"}
    assert COMMITTED["config"]["flotilla:seed"] == {"secure": "v1:abc"}, (
        "the committed settings stay as they are"
    )


def test_images_that_nobody_baked_are_stood_in_for_where_machines_need_one() -> None:
    found = stacks.with_images(COMMITTED, {"web": "web-x", "database": "database-x"})
    assert found["config"]["flotilla:web"]["image"] == "web-x"
    assert "image" not in found["config"]["flotilla:database"]
    assert stacks.image_names(found) == {"web-x", "web-old"}
    pinned = stacks.with_images(found, {"web": "web-y"})
    assert pinned["config"]["flotilla:web"]["image"] == "web-x"


def test_zones_and_regions_are_found() -> None:
    assert stacks.zones(COMMITTED) == {"foobar.com"}
    assert stacks.regions(COMMITTED) == {"lon1"}


@pytest.mark.parametrize("text", ["a: [", "- a", "config: text", ""])
def test_a_file_that_holds_no_config_is_named(tmp_path: Path, text: str) -> None:
    path = stacks.file(tmp_path, "dev")
    path.write_text(text)
    with pytest.raises(stacks.SettingsError, match=r"Pulumi\.dev\.yaml"):
        stacks.load(path)
    assert stacks.names(tmp_path) == ["dev"]


def git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True)


def test_a_commit_and_the_working_tree_are_copied_as_they_are(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "deep").mkdir(parents=True)
    git(repository, "init", "-q")
    for name, text in {"kept": "1", "deep/changed": "1", "removed": "1", ".gitignore": "ignored\n"}.items():
        (repository / name).write_text(text)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "one")
    (repository / "deep/changed").write_text("2")
    (repository / "removed").unlink()
    (repository / "new").write_text("2")
    (repository / "ignored").write_text("2")

    checkouts.copy_commit(repository, "HEAD", tmp_path / "base")
    checkouts.copy_working_tree(repository, tmp_path / "head")

    assert files(tmp_path / "base") == {
        ".gitignore": "ignored\n",
        "kept": "1",
        "deep/changed": "1",
        "removed": "1",
    }
    assert files(tmp_path / "head") == {
        ".gitignore": "ignored\n",
        "kept": "1",
        "deep/changed": "2",
        "new": "2",
    }


@pytest.mark.parametrize("ref", ["nowhere", "--output=x"])
def test_a_ref_that_is_not_there_is_named(tmp_path: Path, ref: str) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(checkouts.CheckoutError, match=ref):
        checkouts.copy_commit(tmp_path, ref, tmp_path / "base")


@pytest.mark.parametrize(("command", "watched"), [("canary", False), ("peers", True)])
def test_nobody_watches_a_canary_that_is_deployed_only_to_compare_with(
    tmp_path: Path, command: str, watched: bool
) -> None:
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "cli.py").write_text("print('at work')")
    line = [sys.executable, "-m", "desk.cli", command, "--stack", "dev"]
    unwatched = str(Path(stacks.__file__).parent / "unwatched")
    done = subprocess.run(
        line, cwd=tmp_path, env={"PYTHONPATH": unwatched}, capture_output=True, text=True, check=True
    )
    assert (done.stdout == "at work\n") is watched


def files(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()
    }
