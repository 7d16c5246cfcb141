"""Background work by name: at most one task per name, and nothing is lost without a log line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

_log = logging.getLogger(__name__)


class Tasks:
    """The running background work of a cloud."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start work under a name; work of that name that still runs is kept and the new one dropped."""
        if name in self._running:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[name] = task
        task.add_done_callback(self._ended)

    async def wait(self, names: Iterable[str]) -> None:
        """Until none of these runs any more."""
        while tasks := [self._running[name] for name in names if name in self._running]:
            await asyncio.wait(tasks)

    async def settled(self) -> None:
        """Until nothing runs any more, work started by other work included."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    async def cancel(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", task.get_name(), exc_info=error)
