"""Whose lock it is, and whether its run still lives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet import locks
from fleet.errors import FleetError
from fleet.locks import FileLocks, Lock, Owner, Process, Torn, judge, parse

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LOCK = Lock("/l/1.json", 4711, "ada", "desk", NOW - timedelta(hours=1))


def owner(lock: Lock | Torn, process: Process | None, host: str = "desk") -> Owner:
    return judge(lock, host=host, now=NOW, process=lambda _: process)


def test_a_lock_as_the_engine_writes_it_is_read() -> None:
    text = '{"pid":4711,"username":"ada","hostname":"desk","timestamp":"2026-11-21T12:00:00.123456789+01:00"}'
    assert parse("/l/1.json", text, NOW) == Lock(
        "/l/1.json", 4711, "ada", "desk", datetime(2026, 11, 21, 11, 0, 0, 123456, tzinfo=UTC)
    )


def test_no_such_process_means_dead() -> None:
    assert owner(LOCK, None) is Owner.DEAD


def test_the_process_that_took_the_lock_is_alive() -> None:
    assert owner(LOCK, Process("pulumi", LOCK.since - timedelta(seconds=1))) is Owner.ALIVE


def test_a_number_given_to_another_process_since_means_dead() -> None:
    assert owner(LOCK, Process("bash", LOCK.since + timedelta(minutes=5))) is Owner.DEAD


def test_a_pulumi_that_seems_younger_than_its_lock_is_still_respected() -> None:
    """A clock set forward makes every process look younger; a living run's lock must survive that."""
    assert owner(LOCK, Process("pulumi", LOCK.since + timedelta(minutes=5))) is Owner.ALIVE


def test_another_hosts_lock_is_never_judged_from_here() -> None:
    assert owner(LOCK, None, host="laptop") is Owner.ELSEWHERE


@pytest.mark.parametrize(
    ("age", "expected"), [(timedelta(seconds=5), Owner.ALIVE), (timedelta(minutes=5), Owner.DEAD)]
)
def test_a_torn_lock_is_dead_once_it_can_no_longer_be_in_writing(age: timedelta, expected: Owner) -> None:
    assert owner(Torn("/l/1.json", NOW - age), None) is expected


def test_a_running_process_is_seen_with_its_start() -> None:
    found = locks.running_process(os.getpid())
    assert found is not None
    assert timedelta(0) <= datetime.now(UTC) - found.started + locks.CLOCK_SLACK < timedelta(hours=1)


def test_an_ended_process_is_not_seen_even_before_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert locks.running_process(process.pid) is None


def write_lock(directory: Path, name: str, pid: int, host: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    stamp = datetime.now(UTC).isoformat()
    path.write_text(json.dumps({"pid": pid, "username": "ada", "hostname": host, "timestamp": stamp}))
    return path


def test_a_file_backends_locks_are_found_sorted_and_released(tmp_path: Path) -> None:
    directory = tmp_path / ".pulumi/locks/organization/flotilla/dev"
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    dead = write_lock(directory, "a.json", process.pid, socket.gethostname())
    dead.with_name("a.json.attrs").write_text("{}")
    alive = write_lock(directory, "b.json", os.getpid(), socket.gethostname())
    store = locks.open_locks(f"file://{tmp_path}", "flotilla", "dev", Path("/"))
    found = locks.sort_locks(store)
    assert [lock.path for lock in found.dead] == [str(dead)]
    assert [(lock.path, owner) for lock, owner in found.held] == [(str(alive), Owner.ALIVE)]
    store.release(found.dead[0])
    assert sorted(path.name for path in directory.iterdir()) == ["b.json"]


def test_a_stack_without_locks_has_none(tmp_path: Path) -> None:
    assert FileLocks(tmp_path / "none").list() == []


def test_relative_and_home_paths_of_a_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home = locks.open_locks("file://~", "flotilla", "dev", Path("/project"))
    relative = locks.open_locks("file://./state", "flotilla", "dev", Path("/project"))
    assert home == FileLocks(tmp_path / ".pulumi/locks/organization/flotilla/dev")
    assert relative == FileLocks(Path("/project/state/.pulumi/locks/organization/flotilla/dev"))


def test_a_backend_whose_locks_cannot_be_seen_is_named() -> None:
    with pytest.raises(FleetError, match=r"s3://bucket; .*pulumi cancel --stack prod"):
        locks.open_locks("s3://bucket?region=x", "flotilla", "prod", Path("/"))


def test_a_refusal_names_pid_user_host_and_since() -> None:
    text = locks.refusal("dev", [(LOCK, Owner.ALIVE)])
    assert "pid 4711 of ada on desk, since 2026-11-21 11:00:00 UTC is at work" in text


def test_a_refusal_for_another_host_says_where_to_go() -> None:
    text = locks.refusal("dev", [(LOCK, Owner.ELSEWHERE)])
    assert "run `fleet recover` there" in text
    assert "pulumi cancel --stack dev" in text
