"""Asking a running sandbox about itself, from the command line."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from sandbox.config import load
from sandbox.lifecycle import SandboxError, last_lines
from sandbox.paths import SandboxPaths

_ANSWER_SECONDS = 10.0
# A changed record reaches every point of presence of the edge within its propagation time.
_VISIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Control:
    """The control API of one sandbox."""

    base: str
    token: str
    paths: SandboxPaths

    @classmethod
    def of(cls, paths: SandboxPaths) -> Control:
        config = load(paths.config)
        if config is None:
            raise SandboxError(f"there is no sandbox in {paths.home}; make it with `python -m sandbox up`")
        return cls(f"http://127.0.0.1:{config.port}/_sandbox", config.control_token, paths)

    def get(self, path: str) -> Any:
        return self._ask(path, None)

    def post(self, path: str, body: dict[str, str]) -> Any:
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.base + path, body, headers)  # noqa: S310 - http on loopback
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - http on loopback
                text = answer.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            raise SandboxError(f"{path}: {error.read().decode(errors='replace')}") from error
        except OSError as error:
            raise SandboxError(
                f"the sandbox runs but does not answer ({error}); its last words:\n{last_lines(self.paths.log)}"
            ) from error

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = self.get("/status")
        return document

    def inflict(self, name: str, kind: str) -> str:
        """Give a fault to the droplet or database cluster whose id, name or unique beginning of a name is given; its
        name. Raises SandboxError when there is none, or more than one."""
        status = self.status()
        found = [
            (place, str(thing["id"]), str(thing["name"]))
            for place in ("droplets", "databases")
            for thing in status[place]
            if name == str(thing["id"]) or str(thing["name"]).startswith(name)
        ]
        if len(found) != 1:
            names = ", ".join(each[2] for each in found) or "none"
            raise SandboxError(f"{name!r} must name one droplet or database cluster; it names {names}")
        [(place, number, full)] = found
        kinds = "machines" if place == "droplets" else "databases"
        self.post(f"/{kinds}/{number}/fault", {"kind": kind})
        return full

    def console(self, machine: str) -> str:
        """The path of a machine's console log."""
        return str(self.get(f"/console/{urllib.parse.quote(machine)}")["path"])

    def curl_line(self, url: str) -> list[str]:
        """The curl command that visits a site of this cloud from the host."""
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
        way = self.get(f"/way/{urllib.parse.quote(host)}")
        trust = ["--cacert", way["ca"]] if way.get("ca") else ["--insecure"]
        target = way["ports"][parts.scheme] if "ports" in way else port
        return ["curl", "-sS", *trust, "--connect-to", f"{host}:{port}:{way['address']}:{target}", url]


def await_answer(line: list[str]) -> str:
    """Run a curl line until it answers 200; the body. Raises SandboxError with the last answer if it never does."""
    deadline = time.monotonic() + _VISIT_SECONDS
    # curl itself waits between its tries, for refused connections and for the edge's 5xx alike.
    patient = [*line, "--fail-with-body", "--max-time", "20", "--retry", "30", "--retry-all-errors"]
    patient += ["--retry-delay", "1", "--retry-max-time", str(int(deadline - time.monotonic()))]
    done = subprocess.run(patient, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = done.stdout.strip()[-400:]
        raise SandboxError(f"{line[-1]} does not answer: {done.stderr.strip().splitlines()[-1]}\n{tail}")
    return done.stdout
