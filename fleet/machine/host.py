"""The machine as its programs see it: files, commands and time, each replaceable in a test."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class MachineError(Exception):
    """Something on the machine does not work; the text names it and what to look at."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left behind."""

    code: int
    output: str
    error: str


class Host:
    """Files below a root, and commands run on the machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, absolute: str) -> Path:
        return self.root / absolute.lstrip("/")

    def read(self, absolute: str) -> str | None:
        """A text file's content, or None when there is no such file."""
        try:
            return self.path(absolute).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def write(self, absolute: str, text: str, mode: int = 0o600) -> None:
        """Replace a file atomically and durably."""
        path = self.path(absolute)
        temporary = path.with_name(f".{path.name}.new")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def run(
        self, *argv: str, feed: str = "", timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> Result:
        """Run a command; `feed` is its standard input. A missing or hanging command is a failed one."""
        try:
            done = subprocess.run(
                argv,
                input=feed,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                env={**os.environ, **env} if env else None,
                check=False,
            )
        except FileNotFoundError:
            return Result(127, "", f"{argv[0]} is not installed")
        except subprocess.TimeoutExpired:
            return Result(124, "", f"{argv[0]} did not end within {timeout:g} s")
        return Result(done.returncode, done.stdout, done.stderr)

    def must(
        self, *argv: str, feed: str = "", timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> str:
        """Run a command that has to succeed; returns its output."""
        result = self.run(*argv, feed=feed, timeout=timeout, env=env)
        if result.code:
            said = (result.error or result.output).strip()[-2000:]
            raise MachineError(f"`{' '.join(argv[:4])}` failed with exit code {result.code}: {said}")
        return result.output


class Clock:
    """Time that passes; a test's clock passes at once."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


def until(check: Callable[[], T | None], *, timeout: float, clock: Clock, interval: float = 0.25) -> T | None:
    """The first answer of `check` that is not None, or None after the timeout; it is asked at least once."""
    end = clock.now() + timeout
    while (answer := check()) is None:
        left = end - clock.now()
        if left <= 0:
            return None
        clock.pause(min(interval, left))
    return answer
