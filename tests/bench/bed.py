"""A sandbox and a project to measure on, thrown away afterwards."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Bed:
    """Where commands run, and with which environment."""

    home: Path
    environment: Mapping[str, str]

    def run(self, *command: str, directory: Path = ROOT) -> float:
        """Seconds a command took; its output is shown when it fails."""
        started = time.monotonic()
        done = subprocess.run(
            command,
            cwd=directory,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        seconds = time.monotonic() - started
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stdout}\n{done.stderr}")
        return seconds

    def lines(self, *command: str, directory: Path = ROOT) -> Iterator[str]:
        """A command's output as it comes."""
        with subprocess.Popen(
            command, cwd=directory, env=dict(self.environment), stdout=subprocess.PIPE, text=True
        ) as process:
            if process.stdout is None:  # it was asked for above
                raise RuntimeError(f"{shlex.join(command)} has no output")
            yield from process.stdout
        if process.returncode != 0:
            raise RuntimeError(f"{shlex.join(command)} failed")

    def read(self, *command: str, directory: Path = ROOT) -> str:
        return subprocess.run(
            command, cwd=directory, env=dict(self.environment), capture_output=True, text=True, check=True
        ).stdout

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.read(sys.executable, "-m", "sandbox", "status", "--json"))
        return document

    def clone(self) -> Path:
        """A checkout of its own, with our virtual environment: its stack files may change."""
        directory = self.home.parent / "checkout"
        self.run("git", "clone", "--quiet", str(ROOT), str(directory))
        (directory / ".venv").symlink_to(Path(sys.executable).parent.parent)
        return directory

    def project(self, name: str, *files: Path) -> Path:
        """A directory with copies of these files and our virtual environment."""
        directory = self.home.parent / name
        directory.mkdir()
        for file in files:
            copy = shutil.copytree if file.is_dir() else shutil.copy
            copy(file, directory / file.name)
        (directory / ".venv").symlink_to(Path(sys.executable).parent.parent)
        return directory


@contextmanager
def bed(machines: str) -> Iterator[Bed]:
    """A sandbox with machines `real` or `none` on ports of its own."""
    with tempfile.TemporaryDirectory(prefix="flotilla-bench-") as place:
        home = Path(place) / "sandbox"
        environment = {**os.environ, "FLOTILLA_SANDBOX_HOME": str(home)}
        sandbox = [sys.executable, "-m", "sandbox"]
        subprocess.run(
            [*sandbox, "up", "--port", "0", "--machines", machines, "--droplet-limit", "1000"],
            cwd=ROOT,
            env=environment,
            check=True,
        )
        try:
            printed = subprocess.run(
                [*sandbox, "env"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
            ).stdout
            yield Bed(home, environment | _exports(printed))
        finally:
            subprocess.run([*sandbox, "down", "--purge"], cwd=ROOT, env=environment, check=True)


def _exports(printed: str) -> dict[str, str]:
    words = (shlex.split(line)[1] for line in printed.splitlines())
    return {name: value for name, _, value in (word.partition("=") for word in words)}
