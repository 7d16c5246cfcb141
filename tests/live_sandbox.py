"""A sandbox with real machines as its users see it: its command line, its APIs, and places on its network."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import urllib3

from sandbox.config import SandboxConfig
from sandbox.config import load as load_config
from sandbox.lifecycle import last_lines
from sandbox.network.plan import Plan, public_slice
from sandbox.paths import SandboxPaths
from tests.machine_lab import Inside

UP_SECONDS = 400  # the first one on a host builds the base image
_ANSWER_SECONDS = 20

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveSandbox:
    """The sandbox in one home directory; it may be up or down."""

    home: Path

    @property
    def config(self) -> SandboxConfig:
        config = load_config(SandboxPaths(self.home).config)
        assert config is not None, f"no sandbox was ever up in {self.home}"
        return config

    @property
    def plan(self) -> Plan:
        instance = self.config.instance
        return Plan(instance, public_slice(instance))

    @property
    def inside(self) -> Inside:
        return Inside(self.home)

    def command(self, *arguments: str, expect: int = 0) -> str:
        """`python -m sandbox ...` for this home; stdout."""
        line = [sys.executable, "-m", "sandbox", *arguments, "--home", str(self.home)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=UP_SECONDS)
        said = f"{shlex.join(line)}: {done.stdout}{done.stderr}"
        assert done.returncode == expect, said + last_lines(SandboxPaths(self.home).log, 40)
        return done.stdout

    def up(self) -> None:
        self.command("up", "--machines", "real", *([] if self._known() else ["--port", "0"]))

    def _known(self) -> bool:
        return SandboxPaths(self.home).config.exists()

    def environment(self) -> dict[str, str]:
        """What `eval "$(python -m sandbox env)"` adds to a shell."""
        words = shlex.split(self.command("env"))
        pairs = (word.partition("=") for word in words if word != "export")
        return {name: value for name, _, value in pairs}

    def status(self) -> Json:
        found: Json = self.control("GET", "status")
        return found

    def requests(self) -> list[Json]:
        """The API's request log, oldest first."""
        found: list[Json] = self.control("GET", "requests")["requests"]
        return found

    def control(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, f"/_sandbox/{path}", self.config.control_token, body)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """A call of DigitalOcean's API."""
        return self._call(method, f"/v2/{path}", self.config.token, body)

    def cloudflare(self, method: str, path: str, body: Any = None) -> Any:
        """A call of Cloudflare's API; its result."""
        return self._call(method, f"/client/v4/{path}", self.config.cloudflare_token, body)["result"]

    def _call(self, method: str, path: str, token: str, body: Any) -> Any:
        url = f"http://127.0.0.1:{self.config.port}{path}"
        headers = {"Authorization": f"Bearer {token}"}
        answer = urllib3.request(method, url, json=body, headers=headers, timeout=_ANSWER_SECONDS)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.data.decode()}"
        return answer.json() if answer.data else None


@contextmanager
def live_sandbox(label: str) -> Iterator[LiveSandbox]:
    """Up on entry, gone with everything it made on exit, whatever happened."""
    with TemporaryDirectory(prefix=f"flotilla-{label}-") as root:
        sandbox = LiveSandbox(Path(root) / "home")
        try:
            sandbox.up()
            yield sandbox
        finally:
            sandbox.command("down", "--purge")


@dataclass(frozen=True, slots=True)
class Remains:
    """What a sandbox has in the host's kernel tables, by kind; names only."""

    found: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, plan: Plan, home: Path) -> Remains:
        """Look for everything whose name or address is this sandbox's own."""
        own = (f"fl{plan.instance}-", plan.host_link, str(home), str(plan.public))
        looks = {
            "namespaces": ["ip", "netns", "list"],
            "interfaces": ["ip", "-brief", "link"],
            "routes": ["ip", "route", "show", "table", "all"],
            "rules": ["ip", "rule"],
            "packet filter": ["nft", "list", "ruleset"],
            "loop devices": ["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"],
            "mounts": ["findmnt", "--raw", "--noheadings"],
        }
        found = {kind: _lines(line, own) for kind, line in looks.items()}
        claims = Path("/run/flotilla").glob("instance-*")
        found["claims"] = tuple(str(claim) for claim in claims if str(home) in claim.read_text())
        return cls({kind: lines for kind, lines in found.items() if lines})


def _lines(command: list[str], wanted: tuple[str, ...]) -> tuple[str, ...]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(line for line in done.stdout.splitlines() if any(word in line for word in wanted))
