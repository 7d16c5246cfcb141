"""`python -m sandbox.machines build-image`: make a distribution image ahead of time."""

from __future__ import annotations

import argparse
import asyncio
import sys

from sandbox.machines import base_image
from sandbox.machines.port import MachineError
from sandbox.paths import cache_root


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.machines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser(
        "build-image", help="build a distribution image into the cache, unless it is there"
    )
    building.add_argument("slug", nargs="?", default="debian-13-x64", choices=sorted(base_image.SUITES))
    building.add_argument("--force", action="store_true", help="build again, with today's packages")
    arguments = parser.parse_args()
    try:
        image = asyncio.run(base_image.build(cache_root(), arguments.slug, _say, force=arguments.force))
    except MachineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _say(f"{image.slug} {image.digest} {image.size_bytes / 1e6:.0f} MB {image.root}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
