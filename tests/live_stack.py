"""A stack on a live sandbox, worked on as by hand: `fleet`, `pulumi`, and visits to its site."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.live_sandbox import LiveSandbox

ROOT = Path(__file__).resolve().parent.parent
RUN_SECONDS = 300
_VISIT_SECONDS = 30
_LOOK_EVERY_SECONDS = 0.1
_COUNT = re.compile(r'<p class="count">(\d+)</p>')
_MEMBER = re.compile(r"<dt>Member</dt><dd><code>([^<]+)</code>")


@dataclass(frozen=True, slots=True)
class Page:
    """What the example site says to a visitor."""

    member: str
    count: int

    @classmethod
    def read(cls, text: str) -> Page:
        count, member = _COUNT.search(text), _MEMBER.search(text)
        assert count, f"no counter in {text!r}"
        assert member, f"no member in {text!r}"
        return cls(member[1], int(count[1]))


@dataclass(frozen=True, slots=True)
class LiveStack:
    """One stack of a copy of the project."""

    sandbox: LiveSandbox
    directory: Path
    environment: Mapping[str, str]
    name: str
    domain: str = "www.foobar.dev"
    printed: list[str] = field(default_factory=list)
    """All that every `pulumi up` printed, and in `arguments` those of all processes that it ran: for those who look
    for secrets."""
    arguments: set[bytes] = field(default_factory=set)

    @classmethod
    def create(
        cls, sandbox: LiveSandbox, directory: Path, name: str, domain: str = "www.foobar.dev"
    ) -> LiveStack:
        """Copy the project and make its stack, as after a fresh clone and `python -m sandbox up`.

        A stack other than dev starts with dev's config.
        """
        copy_project(directory)
        config = directory / f"Pulumi.{name}.yaml"
        if not config.exists():
            shutil.copy(directory / "Pulumi.dev.yaml", config)
        environment = {**os.environ, **sandbox.environment()}
        stack = cls(sandbox, directory, environment, name, domain)
        # A seed that `make up` wrote in this checkout belongs to another sandbox.
        stack.fleet("init", name, "--renew-secrets")
        stack.configure("domain", domain)
        return stack

    def run(self, *line: str, expect: int = 0) -> str:
        """A command in the project's directory; all it printed."""
        done = subprocess.run(
            line,
            cwd=self.directory,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_SECONDS,
        )
        assert done.returncode == expect, f"{' '.join(line)} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def fleet(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "fleet.cli", *arguments)

    def pulumi(self, *arguments: str, expect: int = 0) -> str:
        return self.run("pulumi", *arguments, "--stack", self.name, "--non-interactive", expect=expect)

    def configure(self, key: str, value: str | int) -> None:
        """`web.count` and its like."""
        self.pulumi("config", "set", "--path", f"flotilla:{key}", str(value))

    def setting(self, key: str) -> str:
        """A value as text, structures as JSON."""
        return self.pulumi("config", "get", "--path", f"flotilla:{key}").strip()

    def up(self, *arguments: str) -> str:
        with watched_arguments(self.sandbox.home, self.arguments):
            printed = self.pulumi("up", "--yes", "--skip-preview", *arguments)
        self.printed.append(printed)
        return printed

    def outputs(self) -> Any:
        return json.loads(self.pulumi("stack", "output", "--json"))

    def urn(self, name: str) -> str:
        """The URN of a resource by its name in the program."""
        state = json.loads(self.pulumi("stack", "export"))
        [urn] = {row["urn"] for row in state["deployment"]["resources"] if row["urn"].endswith(f"::{name}")}
        return str(urn)

    def droplet(self, slot: str) -> dict[str, Any]:
        """The droplet now in a slot."""
        state = json.loads(self.pulumi("stack", "export"))
        [number] = {
            row["id"]
            for row in state["deployment"]["resources"]
            if row["type"].endswith(":Droplet") and row["urn"].endswith(f"::{slot}")
        }
        found: dict[str, Any] = self.sandbox.api("GET", f"droplets/{number}")["droplet"]
        return found

    def visit(self, point: int = 0) -> Page:
        """One visit through a point of presence of the edge, on a connection of its own."""
        status = self.sandbox.status()
        return visit(self.domain, status["edge_ports"][point], Path(status["edge_ca"]))


@contextmanager
def watched_arguments(home: Path, seen: set[bytes]) -> Iterator[None]:
    """Add the arguments of every process on the host that has to do with the sandbox in `home`, until the block ends.

    They all have its path in their environment: its own ones as a mark, an engine as the place of its state.
    """
    stop, wanted = threading.Event(), str(home).encode()

    def watch() -> None:
        while not stop.wait(_LOOK_EVERY_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if wanted in (process / "environ").read_bytes():
                        seen.add((process / "cmdline").read_bytes())
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue  # it ended, or lets nobody look

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def copy_project(directory: Path) -> None:
    """What `pulumi` needs of a checkout; the packages come from the environment these tests run in."""
    directory.mkdir(parents=True)
    for path in [ROOT / "__main__.py", *ROOT.glob("Pulumi*.yaml")]:
        shutil.copy(path, directory)
    shutil.copytree(ROOT / "app", directory / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / ".venv").symlink_to(Path(sys.executable).parent.parent)


def address_of(droplet: Mapping[str, Any], kind: str) -> str:
    """The address on one of its networks: public or private."""
    return next(str(entry["ip_address"]) for entry in droplet["networks"]["v4"] if entry["type"] == kind)


def visit(domain: str, port: int, authority: Path, address: str = "127.0.0.1") -> Page:
    """Fetch the page; what is not a 200 with a counter fails the test."""
    trust = ssl.create_default_context(cafile=str(authority))
    connection = http.client.HTTPSConnection(domain, port, timeout=_VISIT_SECONDS, context=trust)
    raw = socket.create_connection((address, port), _VISIT_SECONDS)
    connection.sock = trust.wrap_socket(raw, server_hostname=domain)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, f"{answer.status}: {text[:300]}"
        return Page.read(text)
    finally:
        connection.close()


@dataclass(slots=True)
class Trickle:
    """Visitors that come while something changes."""

    pages: list[Page] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


_EVERY_SECONDS = 0.2
_MOST_VISITS = 600


@contextmanager
def trickle(stack: LiveStack) -> Iterator[Trickle]:
    """A visit every 0.2 s, each by another point of presence, until the block ends; at most two minutes of them."""
    status = stack.sandbox.status()
    seen, stop = Trickle(), threading.Event()

    def one(port: int) -> None:
        try:
            seen.pages.append(visit(stack.domain, port, Path(status["edge_ca"])))
        except (AssertionError, OSError, http.client.HTTPException) as error:
            seen.failures.append(f"port {port}: {type(error).__name__}: {error}")

    def come(pool: ThreadPoolExecutor) -> None:
        for number in range(_MOST_VISITS):
            if stop.wait(_EVERY_SECONDS):
                return
            # In a thread each: a slow answer does not keep the next visitor away.
            pool.submit(one, status["edge_ports"][number % len(status["edge_ports"])])

    with ThreadPoolExecutor(8) as pool:
        visitors = threading.Thread(target=come, args=(pool,))
        visitors.start()
        try:
            yield seen
        finally:
            stop.set()
            visitors.join()
