"""A sandbox for the time of a test: its APIs without machines, or with simulated ones."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
_LOOK_SECONDS = 0.02

# By path: the key of the list, and what names an entry.
_KINDS = {
    "droplets": ("droplets", "name"),
    "volumes": ("volumes", "name"),
    "databases": ("databases", "name"),
    "firewalls": ("firewalls", "name"),
    "account/keys": ("ssh_keys", "name"),
    "tags": ("tags", "name"),
    "domains": ("domains", "name"),
}
_NAMED = {"tags", "domains"}  # by name instead of a number


@dataclass(frozen=True, slots=True)
class Request:
    """One call of an API; `status` is None while it is under way, and when it never got an answer."""

    method: str
    path: str
    body: Any
    status: int | None
    at: float  # of its arrival, seconds since the epoch

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Command:
    """What a simulated machine was told to run; `exit` is None while it runs and when the machine died."""

    name: str
    command: str
    stdin: str
    exit: int | None
    at: float


@dataclass(frozen=True, slots=True)
class LocalCloud:
    """A running one."""

    home: Path
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

    def log(self, since: float = 0) -> list[Request]:
        """Every request from then on, in order."""
        rows = self._control("GET", "requests")["requests"]
        return [
            Request(row["method"], row["path"], row["body"], row["status"], row["at"])
            for row in rows
            if row["at"] >= since
        ]

    def changes(self, since: float = 0) -> list[Request]:
        """The requests from then on that change something."""
        return [request for request in self.log(since) if request.method != "GET"]

    def script(self, **script: Any) -> None:
        """What simulated machines answer, as POST /_sandbox/guests takes it."""
        self._control("POST", "guests", script)

    def commands(self, since: float = 0) -> list[Command]:
        """What simulated machines were told to run from then on, in order."""
        rows = self._control("GET", "guests")["commands"]
        return [
            Command(row["name"], row["command"], row["stdin"], row["exit"], row["at"])
            for row in rows
            if row["at"] >= since
        ]

    def quiet(self, since: float) -> bool:
        """Whether no request from then on is still under way."""
        return all(request.status is not None for request in self.log(since))

    def kill(self, droplet: str) -> None:
        """Cut a droplet's power."""
        self._control("POST", f"machines/{droplet}/fault", {"kind": "kill"})

    @property
    def url(self) -> str:
        """Of all its APIs."""
        return f"http://127.0.0.1:{self.config.port}"

    def machines(self) -> list[dict[str, Any]]:
        """The droplets with what no API tells: whether their machines run."""
        found: list[dict[str, Any]] = self._control("GET", "status")["droplets"]
        return found

    def zone(self, name: str) -> str:
        """The edge's id of a zone."""
        zones = self._call("GET", "/client/v4/zones", self.config.cloudflare_token)["result"]
        return next(str(zone["id"]) for zone in zones if zone["name"] == name)

    def image(self, name: str) -> int:
        """The id of one of the account's images."""
        return next(
            int(row["id"]) for row in self.list("images?private=true", "images") if row["name"] == name
        )

    def calm(self) -> None:
        """No faults, no scripts."""
        self.heal()
        self._control("DELETE", "guests")

    def delete(self, path: str) -> None:
        self._call("DELETE", f"/v2/{path}", self.config.token)

    def post(self, path: str, body: Any) -> Any:
        return self._call("POST", f"/v2/{path}", self.config.token, body)

    def act(self, droplet: int, kind: str, **fields: Any) -> None:
        """A droplet action, to its end."""
        action = self.post(f"droplets/{droplet}/actions", {"type": kind, **fields})["action"]["id"]
        until(lambda: self.get(f"actions/{action}")["action"]["status"] == "completed", f"{kind} to complete")

    def get(self, path: str) -> Any:
        return self._call("GET", f"/v2/{path}", self.config.token)

    def records(self, name: str) -> dict[str, str]:
        """Ids of the edge's records with this name, by the address they tell."""
        return {row["content"]: row["id"] for row in self._edge_records() if row["name"] == name}

    def inventory(self) -> dict[str, list[str]]:
        """Names of everything that deployments leave in the accounts; kinds of which there is nothing are left out."""
        own = {kind: [str(row[name]) for row in self.list(kind, key)] for kind, (key, name) in _KINDS.items()}
        own["vpcs"] = [row["name"] for row in self.list("vpcs", "vpcs") if not row["default"]]
        own["records"] = [row["name"] for row in self._edge_records()]
        own["certificates"] = self._edge_certificates()
        return {kind: sorted(names) for kind, names in own.items() if names}

    def wipe(self) -> None:
        """Remove all of it, whatever made it."""
        for row in self._edge_records():
            token = self.config.cloudflare_token
            self._call("DELETE", f"/client/v4/zones/{row['zone_id']}/dns_records/{row['id']}", token)
        for path in self._edge_certificates():
            self._call("DELETE", path, self.config.cloudflare_token)
        for droplet in self.list("droplets", "droplets"):
            self.delete(f"droplets/{droplet['id']}")
        for kind, (key, name) in _KINDS.items():
            identifier = name if kind in _NAMED else "id"
            for row in self.list(kind, key):
                self.delete(f"{kind}/{row[identifier]}")
        for row in self.list("vpcs", "vpcs"):
            if not row["default"]:
                self.delete(f"vpcs/{row['id']}")

    def _edge_records(self) -> list[dict[str, Any]]:
        token = self.config.cloudflare_token
        found: list[dict[str, Any]] = []
        for zone in self._call("GET", "/client/v4/zones", token)["result"]:
            path = f"/client/v4/zones/{zone['id']}/dns_records?per_page=1000"
            found += [{**row, "zone_id": zone["id"]} for row in self._call("GET", path, token)["result"]]
        return found

    def _edge_certificates(self) -> list[str]:
        """Paths of those that origins show and of those that they are shown."""
        token, paths = self.config.cloudflare_token, list[str]()
        for zone in self._call("GET", "/client/v4/zones", token)["result"]:
            pulls = f"/client/v4/zones/{zone['id']}/origin_tls_client_auth"
            for path, query in ((pulls, ""), ("/client/v4/certificates", f"?zone_id={zone['id']}")):
                rows = self._call("GET", path + query, token)["result"]
                paths += [f"{path}/{row['id']}" for row in rows if row.get("status") != "pending_deletion"]
        return paths

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

    def list(self, path: str, key: str) -> list[dict[str, Any]]:
        """Objects of the DigitalOcean API."""
        found: list[dict[str, Any]] = self._call("GET", f"/v2/{path}", self.config.token)[key]
        return found


@contextmanager
def local_cloud(home: Path, *, machines: str = "none") -> Iterator[LocalCloud]:
    """Up on entry, gone with all its state on exit."""
    try:
        start(home, machines=machines)
        config = load_config(SandboxPaths(home).config)
        assert config is not None
        yield LocalCloud(home, config)
    finally:
        _sandbox("down", "--purge", home=home)


def start(home: Path, *, machines: str) -> None:
    """Start the sandbox of this home, also again after it was killed."""
    port = () if SandboxPaths(home).config.exists() else ("--port", "0")
    _sandbox("up", *port, "--machines", machines, "--no-rate-limits", home=home)


def until(reached: Callable[[], bool], what: str, *, seconds: float = _SECONDS) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        threading.Event().wait(_LOOK_SECONDS)


def _sandbox(*arguments: str, home: Path) -> None:
    command = [sys.executable, "-m", "sandbox", *arguments, "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
