"""The README's commands, run in order as a newcomer would, on a checkout of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 900
# Run by .ci/run around this very test.
_AROUND_US = "make test"

pytestmark = [pytest.mark.machines, pytest.mark.timeout(_SECONDS)]


def blocks(readme: str) -> list[str]:
    """The text of each `sh` block, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody with a fresh checkout and one shell."""

    checkout: Path
    environment: dict[str, str]

    def run(self, script: str) -> str:
        """Run in one bash session, which stops at the first command that fails."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    checkout = tmp_path / "flotilla"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    venv = Path(sys.executable).parent.parent
    (checkout / ".venv").symlink_to(venv)
    # Newer than the checkout's files: make takes the environment as it is.
    (venv / ".ready").touch()
    environment = {
        # A make around us would have this one say which directory it enters.
        **{name: value for name, value in os.environ.items() if name not in {"MAKELEVEL", "MAKEFLAGS"}},
        "FLOTILLA_SANDBOX_HOME": str(tmp_path / "s"),
        "FLOTILLA_SANDBOX_PORT": "0",
    }
    person = Newcomer(checkout, environment)
    try:
        yield person
    finally:
        person.run("make purge")


def test_every_command_works_and_the_page_answers(newcomer: Newcomer) -> None:
    start, *rest = blocks((ROOT / "README.md").read_text())
    assert start == "make up\nmake down\n"
    line = newcomer.run("make up").strip().splitlines()[-1].strip()
    assert line.startswith("curl ")
    first, second = (_visits(newcomer.run(f"{line} -H 'Accept: application/json'")) for _ in range(2))
    assert second == first + 1
    newcomer.run("\n".join(block for block in rest if block.strip() != _AROUND_US))
    newcomer.run("make down")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert f"{_AROUND_US}\n" in blocks((ROOT / "README.md").read_text())
    assert _AROUND_US in (ROOT / ".ci" / "run").read_text()


def _visits(answer: str) -> int:
    found = re.search(r'"visits": ?(\d+)', answer)
    assert found, answer
    return int(found[1])
