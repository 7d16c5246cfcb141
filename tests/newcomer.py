"""Somebody with a fresh checkout who types what the documents say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def blocks(readme: str) -> list[str]:
    """The text of each `sh` block, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody with a fresh checkout and one shell."""

    checkout: Path
    environment: dict[str, str]

    def run(self, script: str, *, seconds: float = 900) -> str:
        """Run in one bash session, which stops at the first command that fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@contextmanager
def newcomer(directory: Path) -> Iterator[Newcomer]:
    """A newcomer in an empty directory; his local cloud is forgotten afterwards."""
    checkout = directory / "flotilla"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    venv = Path(sys.executable).parent.parent
    (checkout / ".venv").symlink_to(venv)
    # Newer than the checkout's files: make takes the environment as it is.
    (venv / ".ready").touch()
    environment = {
        # A make around us would have this one say which directory it enters.
        **{name: value for name, value in os.environ.items() if name not in {"MAKELEVEL", "MAKEFLAGS"}},
        "FLOTILLA_SANDBOX_HOME": str(directory / "s"),
        "FLOTILLA_SANDBOX_PORT": "0",
    }
    person = Newcomer(checkout, environment)
    try:
        yield person
    finally:
        person.run("make purge")
