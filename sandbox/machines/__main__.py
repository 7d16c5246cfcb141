"""`python -m sandbox.machines build-image`: make an image ahead of time."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from sandbox.machines import base_image, database_image
from sandbox.machines.port import MachineError
from sandbox.paths import cache_root


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.machines", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build-image", help="build an image into the cache, unless it is there")
    known = [*sorted(base_image.SUITES), database_image.KEY]
    building.add_argument("slug", nargs="?", default="debian-13-x64", choices=known)
    building.add_argument("--force", action="store_true", help="build again, with today's packages")
    arguments = parser.parse_args()
    try:
        size, place = asyncio.run(_build(arguments.slug, arguments.force))
    except MachineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _say(f"{arguments.slug} {size / 1e6:.0f} MB {place}")
    return 0


async def _build(slug: str, force: bool) -> tuple[int, Path]:
    """Bytes and place of the image."""
    if slug == database_image.KEY:
        database = await database_image.build(cache_root(), _say, force=force)
        return database.size_bytes, database.layers[-1]
    image = await base_image.build(cache_root(), slug, _say, force=force)
    return image.size_bytes, image.root


if __name__ == "__main__":
    raise SystemExit(main())
