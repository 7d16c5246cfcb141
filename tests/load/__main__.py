"""The load generator's own process, in whatever network namespace it was started.

Reads one JSON line (run, domain, authority, doors as [name, address, port], profile), says `started`, and prints the
report as JSON when standard input ends or the schedule does.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import sys
import time
from typing import Any

from tests.load.client import Door
from tests.load.generator import Generator
from tests.load.report import report
from tests.load.schedule import Profile


async def _main(order: dict[str, Any]) -> None:
    trust = ssl.create_default_context(cafile=order["authority"])
    doors = [Door(name, address, port, order["domain"], trust, []) for name, address, port in order["doors"]]
    stop = asyncio.Event()
    ended = asyncio.create_task(_end_of_input())
    ended.add_done_callback(lambda _: stop.set())
    generator = Generator(Profile(**order["profile"]), doors, order["run"])
    started = time.monotonic()
    print("started", flush=True)
    outcomes = await generator.visit(started, stop)
    ended.cancel()
    print(json.dumps(report(order["run"], started, outcomes).document()), flush=True)


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        await reader.read()
    finally:
        transport.close()


if __name__ == "__main__":
    # A pause of the collector would count as the site's latency.
    gc.disable()
    asyncio.run(_main(json.loads(sys.stdin.readline())))
