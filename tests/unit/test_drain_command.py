"""The shell line that a deleted slot runs at the operator's desk, run for real."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml
from typer.testing import CliRunner

from components import commands
from components.model import DrainTimes
from fleet.cli import app
from fleet.errors import FleetError

ROOT = Path(__file__).resolve().parents[2]
TIMES = DrainTimes(propagation=300, quiet=10, cap=120)
ARGUMENTS = "drain --slot web-1 --propagation 300 --quiet 10 --cap 120"


def program(path: Path) -> Path:
    """A program that prints its name and arguments."""
    path.parent.mkdir(parents=True)
    path.write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
    path.chmod(0o755)
    return path


def run(line: str, directory: Path) -> str:
    environment = {"PATH": f"{directory / 'bin'}:/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=directory, env=environment, capture_output=True, text=True
    ).stdout.strip()


def test_the_programs_own_environment_is_used(tmp_path: Path) -> None:
    program(tmp_path / ".venv" / "bin" / "python")
    assert run(commands.drain_command("web-1", TIMES), tmp_path) == f"python -m fleet.cli {ARGUMENTS}"


def test_without_it_the_installed_command_is_used(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "fleet")
    assert run(commands.drain_command("web-1", TIMES), tmp_path) == f"fleet {ARGUMENTS}"


def test_the_environment_is_where_the_project_says() -> None:
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert f"{project['runtime']['options']['virtualenv']}/bin/python" in commands.at_desk("status")


def test_the_desk_understands_the_arguments() -> None:
    arguments = ARGUMENTS.split()
    result = CliRunner().invoke(app, arguments, env={"FLOTILLA_HOST": "198.18.0.1"})
    assert isinstance(result.exception, FleetError)
    assert "FLOTILLA_HOST_KEY is not set" in str(result.exception)
