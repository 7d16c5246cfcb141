"""Serve the providers to Pulumi engines: `python -m sandbox.providers --ports-file FILE`.

Prints and writes the ports as JSON, e.g. {"digitalocean": 40001, "cloudflare": 40002, "command": 40003}; an engine
attaches by PULUMI_DEBUG_PROVIDERS=digitalocean:40001,cloudflare:40002,command:40003.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from sandbox.providers.serve import PACKAGES, serving


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    # Otherwise some lines for each command of each update.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    ports = {package.name: getattr(arguments, f"{package.name}_port") for package in PACKAGES}
    try:
        asyncio.run(_serve(ports, arguments.ports_file))
    except OSError as error:
        print(f"The providers cannot start: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.providers", description=__doc__)
    parser.add_argument("--ports-file", type=Path, help="where to write the ports, as JSON")
    for package in PACKAGES:
        parser.add_argument(f"--{package.name}-port", type=int, default=0, help="default: any free port")
    return parser.parse_args()


async def _serve(ports: Mapping[str, int], ports_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(ports) as bound:
        print(json.dumps(bound), flush=True)
        if ports_file is not None:
            _write_whole(ports_file, json.dumps(bound) + "\n")
        await stop.wait()


def _write_whole(path: Path, text: str) -> None:
    """Write a file that others may read at any moment: they see all of it or none."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
