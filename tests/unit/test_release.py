"""A release from a directory or a git ref."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudinit import release
from cloudinit.release import ReleaseError, from_directory, from_git


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "repository" / "site"
    directory.mkdir(parents=True)
    (directory / "wsgi.py").write_text("app = None\n")
    return directory


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True)


def contents(made: release.Release) -> dict[str, bytes]:
    return {file.path: file.content for file in made.files}


def test_a_release_says_its_name_and_callable(site: Path) -> None:
    made = from_directory(site, "wsgi:app")
    expected = f"FLOTILLA_RELEASE={made.name}\nFLOTILLA_CALLABLE=wsgi:app\n"
    assert contents(made)["/opt/flotilla/release.env"].decode() == expected


def test_the_name_follows_the_content_and_nothing_else(site: Path) -> None:
    first = from_directory(site, "wsgi:app")
    (site / "wsgi.py").touch()
    assert from_directory(site, "wsgi:app") == first
    (site / "wsgi.py").write_text("app = 1\n")
    assert from_directory(site, "wsgi:app").name != first.name


def test_caches_and_version_control_stay_at_home(site: Path) -> None:
    for name in ("__pycache__/wsgi.pyc", ".git/config", ".venv/bin/python", "node_modules/x.js"):
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert set(contents(from_directory(site, "wsgi:app"))) == {
        "/opt/flotilla/app/wsgi.py",
        "/opt/flotilla/release.env",
    }


def test_a_git_ref_is_taken_as_committed(site: Path) -> None:
    git(site.parent, "init", "--quiet")
    git(site.parent, "add", ".")
    git(site.parent, "commit", "--quiet", "-m", "first")
    git(site.parent, "tag", "v1")
    committed = from_directory(site, "wsgi:app")
    (site / "wsgi.py").write_text("app = 'not committed'\n")
    assert from_git(site, "v1", "wsgi:app") == committed


@pytest.mark.parametrize("ref", ["v2", "--help", "HEAD:site"])
def test_an_unknown_ref_is_an_error(site: Path, ref: str) -> None:
    git(site.parent, "init", "--quiet")
    git(site.parent, "add", ".")
    git(site.parent, "commit", "--quiet", "-m", "first")
    with pytest.raises(ReleaseError, match="is no commit"):
        from_git(site, ref, "wsgi:app")


@pytest.mark.parametrize("name", ["wsgi", "wsgi:app;rm", "../wsgi:app", "wsgi:app\nX=1"])
def test_what_is_no_callable_is_refused(site: Path, name: str) -> None:
    with pytest.raises(ReleaseError, match="is no WSGI callable"):
        from_directory(site, name)


def test_a_callable_of_a_missing_module_is_refused(site: Path) -> None:
    with pytest.raises(ReleaseError, match=r"names other\.py or other/"):
        from_directory(site, "other:app")


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="does not exist"):
        from_directory(tmp_path / "nowhere", "wsgi:app")


def test_a_link_out_of_the_directory_is_refused(site: Path) -> None:
    (site / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(ReleaseError, match="symbolic link out"):
        from_directory(site, "wsgi:app")


def test_data_does_not_pass_for_code(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "MAX_BYTES", 5)
    with pytest.raises(ReleaseError, match="keep data out"):
        from_directory(site, "wsgi:app")
