"""What the demo shows: the story, the commands and their output, and below it one line about the visitors."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from demo.crowd import Crowd

LINE_SECONDS: Final = 10.0  # without a terminal there is nothing to redraw
REDRAW_SECONDS: Final = 0.25


class Screen:
    """A terminal, or a log."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def chapter(self, title: str, text: str) -> None:
        """What comes next, and what to look at."""
        self.console.print()
        self.console.rule(Text(title, style="bold"), align="left")
        self.console.print(text, soft_wrap=False)

    def command(self, line: str) -> None:
        self.console.print(Text(f"$ {line}", style="bold cyan"), soft_wrap=True)

    def output(self, line: str) -> None:
        self.console.print(Text(f"  {line}", style="dim"), soft_wrap=True)

    def note(self, text: str) -> None:
        self.console.print(Text(f"→ {text}", style="green"))

    @asynccontextmanager
    async def watching(self, crowd: Crowd) -> AsyncIterator[None]:
        """The line about the visitors, for as long as the block runs."""
        shown = asyncio.create_task(self._redraw(crowd) if self.console.is_terminal else self._repeat(crowd))
        try:
            yield
        finally:
            shown.cancel()
            await asyncio.gather(shown, return_exceptions=True)

    async def _redraw(self, crowd: Crowd) -> None:
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(Text(summary(crowd, time.monotonic()), style="bold"), refresh=True)
                await asyncio.sleep(REDRAW_SECONDS)

    async def _repeat(self, crowd: Crowd) -> None:
        while True:
            await asyncio.sleep(LINE_SECONDS)
            self.console.print(summary(crowd, time.monotonic()))


def summary(crowd: Crowd, now: float) -> str:
    """The visitors in one line: how many, how many in vain, who served the latest ones, and which release."""
    tally = crowd.tally
    members, releases = tally.recent(now)
    parts = [f"{crowd.rate:.0f} visits/s", f"{tally.answered:,} answered", f"{tally.failed} failed"]
    return " · ".join([*parts, _shares(members), f"release {_shares(releases)}"])


def _shares(counts: Counter[str]) -> str:
    total = sum(counts.values())
    return (
        "  ".join(f"{name} {100 * number / total:.0f} %" for name, number in sorted(counts.items()))
        or "nobody"
    )
