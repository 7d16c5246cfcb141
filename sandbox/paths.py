"""Where a sandbox keeps its things: one home directory, and a cache shared by all sandboxes of a user."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Every process of a sandbox carries this variable, so that `down` finds them all after a crash.
MARKER = "FLOTILLA_SANDBOX"


def cache_root() -> Path:
    """Base images, packages and the engine; safe to delete, slow to make again."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "flotilla"


def default_home() -> Path:
    chosen = os.environ.get("FLOTILLA_SANDBOX_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "flotilla" / "sandbox"


@dataclass(frozen=True, slots=True)
class SandboxPaths:
    """The files of one sandbox."""

    home: Path

    @property
    def config(self) -> Path:
        return self.home / "sandbox.json"

    @property
    def database(self) -> Path:
        return self.home / "cloud.sqlite"

    @property
    def daemon_pid(self) -> Path:
        return self.home / "daemon.pid"

    @property
    def log(self) -> Path:
        return self.home / "daemon.log"

    @property
    def pulumi_state(self) -> Path:
        return self.home / "pulumi-state"

    @property
    def pulumi_home(self) -> Path:
        return self.home / "pulumi-home"

    @property
    def passphrase(self) -> Path:
        return self.home / "passphrase"

    def make(self) -> None:
        """Create the home, closed to others: it holds tokens and disks."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.home.chmod(0o700)
        for directory in (self.pulumi_state, self.pulumi_home):
            directory.mkdir(exist_ok=True)
