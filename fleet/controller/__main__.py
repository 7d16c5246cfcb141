"""The controller: `python3 -m fleet.controller`, on the autoscaler node started by systemd.

Killed at any moment it may be started again: what it must remember is on disk before it acts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fleet.controller import journal, memory, metrics, scopes
from fleet.controller.decide import decide
from fleet.controller.loop import Controller, Pass, only_one
from fleet.controller.metrics import Metrics
from fleet.controller.source import Source
from fleet.errors import FleetError

STATE: Final = "/var/lib/flotilla/controller"
CONFIG: Final = "/etc/flotilla/current/secrets"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fleet.controller", description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="one pass, with all that it starts, and end")
    parser.add_argument("--dry-run", action="store_true", help="show what a pass would do, and do nothing")
    parser.add_argument("--state", type=Path, default=_directory("STATE_DIRECTORY", STATE))
    parser.add_argument("--config", type=Path, default=_directory("CREDENTIALS_DIRECTORY", CONFIG))
    parser.add_argument("--metrics", metavar="HOST", action="append", default=[])
    given = parser.parse_args(arguments)
    try:
        return asyncio.run(_run(given))
    except FleetError as error:
        say(f"flotilla-controller: {error}")
        return error.exit_code


def _directory(variable: str, otherwise: str) -> Path:
    """As systemd tells it."""
    return Path(os.environ.get(variable) or otherwise)


async def _run(given: argparse.Namespace) -> int:
    source = Source(given.config, given.state, say)
    controller = Controller(source.world, given.state, decide, say)
    if given.dry_run:
        _show(await controller.look())
        return 0
    memory.begin(given.state)
    with only_one(given.state):
        if given.once:
            _show(await controller.once())
            return 0
        await _serve(controller, source, given)
    return 0


async def _serve(controller: Controller, source: Source, given: argparse.Namespace) -> None:
    stop, numbers = asyncio.Event(), Metrics()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def told(done: Pass) -> None:
        numbers.note(done)
        tell_systemd("WATCHDOG=1")
        try:
            metrics.publish(given.state / metrics.STATUS, done, warnings)
        except OSError as error:
            say(f"the status cannot be written: {error}")

    tell_systemd("READY=1")
    warnings = await asyncio.to_thread(lambda: list(scopes.check(source.world())))
    for warning in warnings:
        say(f"warning: {warning}")
    controller.told = told
    async with contextlib.AsyncExitStack() as servers:
        for host in given.metrics:
            await servers.enter_async_context(await metrics.serve(numbers, host, metrics.PORT))
        await controller.run(stop)


def _show(done: Pass) -> None:
    """What a pass saw and decided, as JSON."""
    document = {
        **metrics.status(done),
        "actions": [journal.told(action) for action in done.decision.actions],
    }
    print(json.dumps(document, indent=1))


def tell_systemd(message: str) -> None:
    """sd_notify(3); nothing happens when systemd does not wait for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as plain:
            plain.sendto(message.encode(), address)


if __name__ == "__main__":
    sys.exit(main())
