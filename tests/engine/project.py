"""A Pulumi project of a test: the real engine, a file backend, all of it under one directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.providers.plugin_home import install_language_host
from toolchain import engine

RUN_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Project:
    """A program with one stack, `dev`."""

    root: Path
    environment: Mapping[str, str]
    engine: str
    name: str = field(default="tiny")

    @classmethod
    def create(cls, root: Path, program: str, *, extra: Mapping[str, str] | None = None) -> Project:
        """Write the project and make its stack. `extra`: environment for the engine, such as attached providers."""
        found = engine.own_engine()
        assert found.ready, f"{found.path} is not built; run `python -m toolchain engine`"
        for directory in ("program", "state", "home"):
            (root / directory).mkdir(parents=True)
        install_language_host(root / "home")
        (root / "program" / ".venv").symlink_to(Path(sys.executable).parent.parent)
        (root / "program" / "Pulumi.yaml").write_text(
            json.dumps({"name": "tiny", "runtime": {"name": "python", "options": {"virtualenv": ".venv"}}})
        )
        environment = {
            "HOME": str(root),
            "PATH": f"{Path(found.path).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PULUMI_HOME": str(root / "home"),
            "PULUMI_BACKEND_URL": f"file://{root / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **(extra or {}),
        }
        project = cls(root / "program", environment, found.path)
        project.write(program)
        project.pulumi("stack", "init", "dev")
        return project

    def write(self, program: str) -> None:
        (self.root / "__main__.py").write_text(program)

    def pulumi(self, *arguments: str, expect: int = 0) -> str:
        """Run a command to its end and return all it printed."""
        with self.start(*arguments) as process:
            printed, _ = process.communicate(timeout=RUN_SECONDS)
        assert process.returncode == expect, printed
        return printed

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.engine, *arguments, "--non-interactive"],
            cwd=self.root,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def outputs(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(
            self.pulumi("stack", "output", "--json", "--show-secrets", "--stack", "dev")
        )
        return decoded

    def state(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.pulumi("stack", "export", "--stack", "dev"))
        return decoded
