"""A sandbox without machines, for the time of a test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from sandbox.config import PROVIDERS, SandboxConfig
from sandbox.config import load as load_config
from sandbox.environment import api_variables
from sandbox.paths import SandboxPaths

_SECONDS = 60
_ANSWER_SECONDS = 10


@dataclass(frozen=True, slots=True)
class LocalCloud:
    """A running one."""

    config: SandboxConfig

    @property
    def variables(self) -> dict[str, str]:
        """What an engine needs to use this cloud and our providers."""
        attached = ",".join(f"{name}:{self.config.ports[name]}" for name in PROVIDERS)
        return {**api_variables(self.config), "PULUMI_DEBUG_PROVIDERS": attached}

    def requests(self) -> list[str]:
        """The requests so far that change something, as `POST /v2/droplets`."""
        return [
            f"{item['method']} {item['path']}"
            for item in self._control("GET", "requests")["requests"]
            if item["method"] != "GET"
        ]

    def fail(self, **fault: Any) -> None:
        """Make calls fail, as POST /_sandbox/faults takes it."""
        self._control("POST", "faults", fault)

    def heal(self) -> None:
        self._control("DELETE", "faults")

    def list(self, path: str, key: str) -> list[dict[str, Any]]:
        """Objects of the DigitalOcean API."""
        found: list[dict[str, Any]] = self._call("GET", f"/v2/{path}", self.config.token)[key]
        return found

    def delete(self, path: str) -> None:
        self._call("DELETE", f"/v2/{path}", self.config.token)

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, f"/_sandbox/{path}", self.config.control_token, body)

    def _call(self, method: str, path: str, token: str, body: Any = None) -> Any:
        answer = urllib3.request(
            method,
            f"http://127.0.0.1:{self.config.port}{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_ANSWER_SECONDS,
        )
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.data.decode()}"
        return answer.json() if answer.data else None


@contextmanager
def local_cloud(home: Path) -> Iterator[LocalCloud]:
    """Up on entry, gone with all its state on exit."""
    _sandbox("up", "--port", "0", "--machines", "none", home=home)
    try:
        config = load_config(SandboxPaths(home).config)
        assert config is not None
        yield LocalCloud(config)
    finally:
        _sandbox("down", "--purge", home=home)


def _sandbox(*arguments: str, home: Path) -> None:
    command = [sys.executable, "-m", "sandbox", *arguments, "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
