"""The engine's commands in one copy of the project."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from review import events, hiding
from review.report import StackReport

_SECONDS: Final = 900
_KEPT_LINES: Final = 30


@dataclass(frozen=True, slots=True)
class Engine:
    """Where it runs, and with what. `scratch` is a directory for its logs."""

    project: Path
    environment: Mapping[str, str] = field(repr=False)
    scratch: Path

    def run(self, *command: str) -> tuple[int, str]:
        """Exit code and everything printed."""
        try:
            done = subprocess.run(
                command,
                cwd=self.project,
                # The event log is an option for developers of engines.
                env={**self.environment, "PULUMI_DEBUG_COMMANDS": "true"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            printed = error.stdout.decode(errors="replace") if error.stdout else ""
            return 124, f"{printed}\nended after {_SECONDS} s without a result"
        return done.returncode, done.stdout

    def deploy(self, stack: str) -> str | None:
        """`pulumi up`: None, or why it failed."""
        code, said, log = self._logged("up", stack, "--yes", "--skip-preview")
        return None if code == 0 else self._reason(said, log)

    def preview(self, stack: str) -> StackReport:
        """`pulumi preview`, as a report."""
        code, said, log = self._logged("preview", stack, "--diff")
        if code != 0:
            return StackReport(stack, failed=self._reason(said, log))
        found = events.decode(log)
        changes = events.changes(found)
        diff = self._shown(events.readable(said)) if changes else ""
        return StackReport(stack, changes, events.unchanged(found), diff)

    def _logged(self, verb: str, stack: str, *arguments: str) -> tuple[int, str, str]:
        log = self.scratch / f"{verb}-{stack}.json"
        log.unlink(missing_ok=True)
        command = ["pulumi", verb, "--stack", stack, "--non-interactive", "--color", "never", *arguments]
        code, said = self.run(*command, "--event-log", str(log))
        return code, said, log.read_text(errors="replace") if log.exists() else ""

    def _reason(self, said: str, log: str) -> str:
        messages = events.errors(events.decode(log))
        if messages:
            return self._shown("\n".join(messages))
        return self._shown("\n".join(said.strip().splitlines()[-_KEPT_LINES:]) or "it printed nothing")

    def _shown(self, text: str) -> str:
        """Text for readers elsewhere: no secrets, no paths of this machine."""
        return hiding.hide(hiding.without_path(text, self.project), self.environment)
