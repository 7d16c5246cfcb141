"""What simulated guests do when they are told to run something: a table that tests write, and a log of what was run."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import Field, field_validator

from sandbox.api.body import Body

_KEPT_COMMANDS = 500
_KEPT_STDIN = 64 * 1024


class GuestScript(Body):
    """One rule. `name` (of the droplet) and `program` (in the command line) are regular expressions that are
    searched for; `tag` is one of the droplet's. What is left out matches everything.

    `effect`: "answer" ends the command with `exit` after `delay_seconds`; "die" cuts the machine's power then;
    "no_sshd" lets a machine boot without its SSH server. `times` None holds until removed.
    """

    name: str | None = None
    tag: str | None = None
    program: str | None = None
    effect: Literal["answer", "die", "no_sshd"] = "answer"
    exit: int = Field(default=0, ge=0, le=255)
    stdout: str = ""
    stderr: str = ""
    delay_seconds: float = Field(default=0.0, ge=0)
    times: int | None = Field(default=None, ge=1)

    @field_validator("name", "program")
    @classmethod
    def _expression(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"{text!r} is no regular expression: {error}") from error
        return text

    def matches(self, name: str, tags: tuple[str, ...]) -> bool:
        named = self.name is None or re.search(self.name, name) is not None
        return named and (self.tag is None or self.tag in tags)

    def answers(self, command: str) -> bool:
        booting = self.effect == "no_sshd"
        return not booting and (self.program is None or re.search(self.program, command) is not None)


SUCCESS = GuestScript()


@dataclass(slots=True)
class Ran:
    """One command that a guest was told to run; `exit` is None while it runs and when its machine died."""

    droplet: int
    name: str
    user: str
    command: str
    at: float  # seconds since the epoch
    stdin: str = ""
    exit: int | None = None


@dataclass(slots=True)
class _Rule:
    number: int
    script: GuestScript
    left: int | None


@dataclass(slots=True)
class GuestScripts:
    """The rules in force, in the order they were added, and the last commands; in memory only: stdin holds secrets."""

    _rules: list[_Rule] = field(default_factory=list)
    _ran: deque[Ran] = field(default_factory=lambda: deque(maxlen=_KEPT_COMMANDS))
    _added: int = 0

    def add(self, script: GuestScript) -> int:
        """Put a rule in force; its number."""
        self._added += 1
        self._rules.append(_Rule(self._added, script, script.times))
        return self._added

    def clear(self) -> None:
        self._rules.clear()

    def listing(self) -> dict[str, Any]:
        return {
            "scripts": [
                {"id": rule.number, "left": rule.left, **rule.script.model_dump()} for rule in self._rules
            ],
            "commands": [asdict(ran) for ran in self._ran],
        }

    def for_command(self, name: str, tags: tuple[str, ...], command: str) -> GuestScript:
        """The rule for a command on this droplet, counted; success without a word when there is none."""
        return self._take(lambda script: script.matches(name, tags) and script.answers(command)) or SUCCESS

    def boots_sshd(self, name: str, tags: tuple[str, ...]) -> bool:
        """Whether this droplet's SSH server comes up at its boot; a rule against it is counted."""
        return self._take(lambda script: script.effect == "no_sshd" and script.matches(name, tags)) is None

    def note(self, droplet: int, name: str, user: str, command: str) -> Ran:
        ran = Ran(droplet, name, user, command, time.time())
        self._ran.append(ran)
        return ran

    def _take(self, fits: Callable[[GuestScript], bool]) -> GuestScript | None:
        for rule in self._rules:
            if not fits(rule.script):
                continue
            if rule.left is not None:
                rule.left -= 1
                if rule.left == 0:
                    self._rules.remove(rule)
            return rule.script
        return None


def shown_stdin(data: bytes) -> str:
    """What the log keeps of a command's standard input."""
    return data[:_KEPT_STDIN].decode(errors="replace")
