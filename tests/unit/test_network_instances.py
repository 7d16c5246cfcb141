"""Who gets which sandbox number."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.network.instances import InstanceError, Instances


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    return tmp_path / "claims"


@pytest.fixture
def instances(claims: Path) -> Instances:
    return Instances(claims)


def _kill_owner(claims: Path, number: int) -> None:
    """Make a claim look as if its process had died: a pid whose start time is another one."""
    file = claims / f"instance-{number}"
    file.write_text(json.dumps({**json.loads(file.read_text()), "started": 0}))


def test_homes_get_different_numbers(instances: Instances) -> None:
    numbers = {instances.claim(Path(f"/{home}")) for home in range(32)}
    assert numbers == set(range(32))


def test_home_that_was_down_finds_its_number_free(instances: Instances) -> None:
    number = instances.claim(Path("/a"))
    instances.release(Path("/a"))
    instances.claim(Path("/b"))
    assert instances.claim(Path("/a"), remembered=number) == number


def test_home_keeps_its_number(instances: Instances) -> None:
    instances.claim(Path("/a"))
    number = instances.claim(Path("/b"))
    instances.release(Path("/a"))
    assert instances.claim(Path("/b")) == number


def test_released_number_is_free(instances: Instances) -> None:
    number = instances.claim(Path("/a"))
    instances.release(Path("/a"))
    assert instances.claim(Path("/b"), remembered=number) == number


def test_remembered_number_is_taken_again_after_a_reboot(instances: Instances) -> None:
    assert instances.claim(Path("/a"), remembered=7) == 7


def test_remembered_number_of_a_dead_sandbox_is_taken_over(instances: Instances, claims: Path) -> None:
    instances.claim(Path("/b"), remembered=7)
    _kill_owner(claims, 7)
    assert instances.claim(Path("/a"), remembered=7) == 7


def test_remembered_number_in_use_names_its_holder(instances: Instances) -> None:
    instances.claim(Path("/b"), remembered=7)
    with pytest.raises(InstanceError, match="in use by the sandbox in /b"):
        instances.claim(Path("/a"), remembered=7)


def test_dead_sandbox_keeps_its_number_while_others_are_free(instances: Instances, claims: Path) -> None:
    for number in range(31):
        instances.claim(Path(f"/{number}"), remembered=number)
    _kill_owner(claims, 5)
    assert instances.claim(Path("/late")) == 31


def test_full_host_takes_a_dead_sandboxes_number(instances: Instances, claims: Path) -> None:
    for number in range(32):
        instances.claim(Path(f"/{number}"))
    with pytest.raises(InstanceError, match="all 32"):
        instances.claim(Path("/late"))
    _kill_owner(claims, 5)
    assert instances.claim(Path("/late")) == 5


def test_machine_still_running_keeps_the_claim(instances: Instances, claims: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    instances.claim(home, remembered=7)
    _kill_owner(claims, 7)
    command = [sys.executable, "-c", "print('up', flush=True); input()"]
    machine = subprocess.Popen(
        command, env={"FLOTILLA_SANDBOX": str(home)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with machine:
        assert machine.stdout is not None
        machine.stdout.readline()
        with pytest.raises(InstanceError, match="in use"):
            instances.claim(Path("/other"), remembered=7)
        machine.communicate(b"\n")


def test_claim_cut_short_by_a_crash_is_free(instances: Instances, claims: Path) -> None:
    claims.mkdir()
    (claims / "instance-7").write_text('{"home": "/a"')
    assert instances.claim(Path("/b"), remembered=7) == 7
