"""Telling processes from later ones of the same number, and awaiting and ending them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import processes
from sandbox.machines.runner import runners
from sandbox.paths import MARKER
from sandbox.processes import ProcessId


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until its input is closed."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process


def test_a_living_process_is_known_by_its_file(tmp_path: Path) -> None:
    own = ProcessId.of(os.getpid())
    assert own is not None
    own.write(tmp_path / "pid")
    assert ProcessId.read(tmp_path / "pid") == own


def test_another_process_of_the_same_number_is_not_it(tmp_path: Path) -> None:
    ProcessId(os.getpid(), 1).write(tmp_path / "pid")
    assert ProcessId.read(tmp_path / "pid") is None


@pytest.mark.parametrize("text", ["", "1", "one two three", "{pid} {started} another-boot"])
def test_a_file_that_says_less_or_is_from_before_the_host_booted_names_nobody(
    tmp_path: Path, text: str
) -> None:
    own = ProcessId.of_child(os.getpid())
    (tmp_path / "pid").write_text(text.format(pid=own.pid, started=own.started))
    assert ProcessId.read(tmp_path / "pid") is None


def test_one_that_ended_is_not_alive_even_before_it_is_reaped() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not ProcessId.of_child(child.pid).alive()
    assert ProcessId.of(child.pid) is None
    child.wait()


async def test_the_end_of_a_process_is_noticed(child: subprocess.Popen[bytes]) -> None:
    process = ProcessId.of_child(child.pid)
    waiting = asyncio.create_task(process.wait())
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    child.communicate()
    await waiting
    assert not process.alive()


async def test_who_took_the_number_over_is_neither_awaited_nor_asked_to_end(
    child: subprocess.Popen[bytes],
) -> None:
    earlier = ProcessId(child.pid, 1)
    earlier.terminate()
    await asyncio.wait_for(earlier.wait(), 5)
    assert child.poll() is None


async def test_a_process_ends_when_it_is_asked_to(child: subprocess.Popen[bytes]) -> None:
    process = ProcessId.of_child(child.pid)
    process.terminate()
    await process.wait()
    assert child.wait() == -15
    process.terminate()


def test_a_killed_process_is_gone_at_once(child: subprocess.Popen[bytes]) -> None:
    processes.kill([child.pid])
    assert ProcessId.of(child.pid) is None
    assert child.wait() == -9


def test_the_runner_of_a_machine_is_told_from_the_other_processes_of_its_sandbox(tmp_path: Path) -> None:
    script = tmp_path / "runner.sh"
    script.write_text("echo ready; read line\n")
    started = {
        name: subprocess.Popen(
            command,
            env={**os.environ, MARKER: str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name, command in {"runner": ["sh", str(script)], "other": ["sh", "-c", "echo ready; cat"]}.items()
    }
    for process in started.values():
        assert process.stdout is not None
        process.stdout.readline()
    try:
        assert runners(tmp_path) == {started["runner"].pid}
    finally:
        processes.kill(process.pid for process in started.values())
        for process in started.values():
            process.communicate()
