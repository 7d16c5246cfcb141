"""Runs the `pulumi` command for one stack. `fleet` never imports the Pulumi SDK."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import yaml

from fleet.errors import FleetError, StoppedError

KEPT_LINES = 20
STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Project:
    """A directory with a Pulumi.yaml."""

    directory: Path
    name: str

    @classmethod
    def find(cls, start: Path) -> Project:
        """The project that `start` lies in. Raises FleetError when there is none."""
        for directory in (start, *start.parents):
            path = directory / "Pulumi.yaml"
            if path.is_file():
                name = (yaml.safe_load(path.read_text()) or {}).get("name")
                if not isinstance(name, str):
                    raise FleetError(f"{path} has no project name; add a line such as `name: flotilla`")
                return cls(directory, name)
        raise FleetError(
            f"there is no Pulumi.yaml in {start} or above it; run fleet inside the project's directory"
        )

    def config_file(self, stack: str) -> Path:
        return self.directory / f"Pulumi.{stack}.yaml"


@dataclass(frozen=True, slots=True)
class PulumiCli:
    """The engine's command line in a project, never interactive."""

    project: Project

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of a command. Raises FleetError with its last lines when it fails."""
        done = self.attempt(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise FleetError(
                f"`pulumi {' '.join(arguments)}` failed:\n{last_lines(done.stderr or done.stdout)}"
            )
        return done.stdout

    def attempt(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command and leave the judgement of its exit code to the caller."""
        return subprocess.run(
            [find_pulumi(), *arguments, "--non-interactive"],
            cwd=self.project.directory,
            env=environment(),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=False,
        )

    def show(self, *arguments: str, to_stderr: bool = False) -> None:
        """Run a command whose output the operator watches. Raises FleetError when it fails, StoppedError after ^C.

        It gets a process group of its own, so that ^C does not reach it twice: the engine takes the second one as an
        order to end at once, with its state unsaved.
        """
        process = subprocess.Popen(
            [find_pulumi(), *arguments, "--non-interactive"],
            cwd=self.project.directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if to_stderr else None,
            process_group=0,
        )
        stopped = _wait_and_pass_on(process)
        if stopped:
            raise StoppedError(
                f"`pulumi {' '.join(arguments)}` was stopped; it ended with {process.returncode}"
            )
        if process.returncode != 0:
            raise FleetError(f"`pulumi {' '.join(arguments)}` ended with {process.returncode}; see above")

    def backend_url(self) -> str:
        """Where the state is, as `pulumi whoami` tells it."""
        url = json.loads(self.run("whoami", "--json")).get("url", "")
        return str(url)

    def stacks(self) -> list[str]:
        """Names of the project's stacks in the current backend, as `--stack` takes them."""
        rows = json.loads(self.run("stack", "ls", "--json"))
        return [str(row["name"]) for row in rows]

    def config(self, stack: str) -> dict[str, Any]:
        """The stack's plain config by key, structured values decoded; secrets are left out."""
        rows: dict[str, dict[str, Any]] = json.loads(self.run("config", "--json", "--stack", stack))
        return {
            key: row.get("objectValue", row.get("value"))
            for key, row in rows.items()
            if not row.get("secret")
        }

    def set_config(self, stack: str, path: str, value: str) -> None:
        self.run("config", "set", "--path", path, value, "--stack", stack)

    def set_configs(self, stack: str, values: Mapping[str, str]) -> None:
        """Several plain values at once, by path: the file is written once, with all of them."""
        given = [part for path, value in values.items() for part in ("--plaintext", f"{path}={value}")]
        self.run("config", "set-all", "--path", *given, "--stack", stack)

    def remove_config(self, stack: str, path: str) -> None:
        """Also when there is no such value."""
        self.run("config", "rm", "--path", path, "--stack", stack)

    def secret(self, stack: str, key: str) -> str:
        """An encrypted value, opened. Raises FleetError when there is none, or the passphrase does not fit."""
        return self.run("config", "get", key, "--stack", stack).strip()

    def export(self, stack: str) -> dict[str, Any]:
        """The stack's state; its secrets stay encrypted."""
        state: dict[str, Any] = json.loads(self.run("stack", "export", "--stack", stack))
        return state

    def import_state(self, stack: str, state: Mapping[str, Any]) -> None:
        self.run("stack", "import", "--stack", stack, stdin=json.dumps(state))


def _wait_and_pass_on(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end. Each request to stop that arrives here is passed on as ^C; returns whether there was one."""
    stopped = False

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        process.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, pass_on) for number in STOPPING}
    try:
        process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return stopped


def find_pulumi() -> str:
    found = shutil.which("pulumi")
    if found is None:
        raise FleetError(
            "there is no `pulumi` on PATH; install it, or for the local cloud run "
            '`eval "$(python -m sandbox env)"` in this shell first'
        )
    return found


def environment() -> dict[str, str]:
    return {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}


def last_lines(text: str, count: int = KEPT_LINES) -> str:
    """The end of a long output, indented to stand under a sentence of ours."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-count:]) or "  (it printed nothing)"
