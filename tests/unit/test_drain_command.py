"""The shell line that a deleted slot runs at the operator's desk, run for real."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from components import commands
from components.model import DrainTimes
from fleet.cli import app
from fleet.errors import FleetError

TIMES = DrainTimes(propagation=300, quiet=10, cap=120)
ARGUMENTS = "drain --slot web-1 --propagation 300 --quiet 10 --cap 120"


def program(path: Path) -> Path:
    """A program that prints its name and arguments."""
    path.parent.mkdir(exist_ok=True)
    path.write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
    path.chmod(0o755)
    return path


def run(line: str, tmp_path: Path) -> str:
    environment = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/sh", "-c", line], env=environment, capture_output=True, text=True
    ).stdout.strip()


def test_the_interpreter_of_the_last_run_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = program(tmp_path / "a place" / "python")
    monkeypatch.setattr(sys, "executable", str(python))
    assert run(commands.drain_command("web-1", TIMES), tmp_path) == f"python -m fleet.cli {ARGUMENTS}"


def test_on_another_computer_the_installed_command_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "fleet")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert run(commands.drain_command("web-1", TIMES), tmp_path) == f"fleet {ARGUMENTS}"


def test_the_desk_understands_the_arguments() -> None:
    arguments = ARGUMENTS.split()
    result = CliRunner().invoke(app, arguments, env={"FLOTILLA_HOST": "198.18.0.1"})
    assert isinstance(result.exception, FleetError)
    assert "FLOTILLA_HOST_KEY is not set" in str(result.exception)
