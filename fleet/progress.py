"""What a long command shows: bars on a terminal, lines elsewhere, never silence."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

SILENCE_SECONDS = 10.0


class Board(Protocol):
    """Several jobs that go through named steps."""

    def step(self, job: str, number: int, text: str) -> None:
        """The job now does its step `number`, counted from 0."""

    def end(self, job: str, text: str) -> None:
        """The job is over, well or not."""


@dataclass(slots=True)
class Bars:
    """One bar for each job."""

    progress: Progress
    tasks: dict[str, TaskID]
    steps: int

    def step(self, job: str, number: int, text: str) -> None:
        self.progress.update(self.tasks[job], completed=number, text=text)

    def end(self, job: str, text: str) -> None:
        self.progress.update(self.tasks[job], completed=self.steps, text=text)
        self.progress.stop_task(self.tasks[job])


@dataclass(slots=True)
class Lines:
    """A line for each step, and one again when a step takes long."""

    started: float = field(default_factory=time.monotonic)
    current: dict[str, str] = field(default_factory=dict)

    def step(self, job: str, number: int, text: str) -> None:
        self.current[job] = text
        self._print(job, text)

    def end(self, job: str, text: str) -> None:
        self.current.pop(job, None)
        self._print(job, text)

    async def beat(self) -> None:
        """Repeat what goes on, until cancelled."""
        while True:
            await asyncio.sleep(SILENCE_SECONDS)
            for job, text in self.current.items():
                self._print(job, f"still {text}")

    def _print(self, job: str, text: str) -> None:
        print(f"[{time.monotonic() - self.started:4.0f} s] {job}: {text}", file=sys.stderr, flush=True)


@asynccontextmanager
async def board(jobs: Sequence[str], steps: int) -> AsyncIterator[Board]:
    """Shown while the body runs, on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        lines = Lines()
        beat = asyncio.create_task(lines.beat())
        try:
            yield lines
        finally:
            beat.cancel()
        return
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {job: progress.add_task(job, total=steps, text="waiting") for job in jobs}
        yield Bars(progress, tasks, steps)
