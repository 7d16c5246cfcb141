"""Files that a killed run leaves beside the state."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.state_files import mend


@pytest.fixture
def states(tmp_path: Path) -> Path:
    directory = tmp_path / ".pulumi" / "stacks" / "flotilla"
    directory.mkdir(parents=True)
    (directory / "dev.json").write_text("{}")
    (directory / "dev.json.attrs").write_text('{"md5":"x"}')
    return directory


def names(states: Path) -> set[str]:
    return {path.name for path in states.iterdir()}


@pytest.mark.parametrize("text", ["", '{"user.cache_control":"', "\0\0"])
def test_cut_off_attributes_are_removed(tmp_path: Path, states: Path, text: str) -> None:
    torn = states / "dev.json.attrs"
    torn.write_text(text)
    assert mend(f"file://{tmp_path}", "flotilla", "dev", Path("/")) == [str(torn)]
    assert names(states) == {"dev.json"}


def test_whole_files_stay(tmp_path: Path, states: Path) -> None:
    before = names(states)
    assert mend(f"file://{tmp_path}", "flotilla", "dev", Path("/")) == []
    assert names(states) == before


def test_half_written_copies_go(tmp_path: Path, states: Path) -> None:
    (states / "dev.json.18aa.tmp").write_text("{")
    (states / "dev.json.bak.18aa.tmp").write_text("{")
    mend(f"file://{tmp_path}", "flotilla", "dev", Path("/"))
    assert names(states) == {"dev.json", "dev.json.attrs"}


def test_other_stacks_are_let_alone(tmp_path: Path, states: Path) -> None:
    (states / "dev2.json.attrs").write_text("")
    (states / "dev2.json.18aa.tmp").write_text("")
    mend(f"file://{tmp_path}", "flotilla", "dev", Path("/"))
    assert {"dev2.json.attrs", "dev2.json.18aa.tmp"} <= names(states)


def test_other_backends_have_no_such_files() -> None:
    assert mend("s3://bucket?region=lon1", "flotilla", "dev", Path("/")) == []
