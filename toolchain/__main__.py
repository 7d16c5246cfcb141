"""`python -m toolchain engine|host`: what a machine needs before the first `pulumi up`."""

from __future__ import annotations

import argparse
import sys

from toolchain import build, engine, host


def main(arguments: list[str]) -> int:
    """Returns an exit code: 0 done, 1 failed with the reason on stderr, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m toolchain", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    chosen = commands.add_parser(
        "engine",
        help="say which Pulumi engine is used and why; build our own when there is no usable official one",
        description="An official `pulumi` on PATH is used when its version is supported and its language host "
        "and plugins are there. Otherwise the engine is built once from its published Go module.",
    )
    chosen.add_argument("--json", action="store_true", help="one JSON document on stdout")
    chosen.add_argument("--no-build", action="store_true", help="only say it; exit code 1 if a build is due")
    commands.add_parser("host", help="install the Debian packages that real machines need (as root)")
    options = parser.parse_args(arguments)
    try:
        return host.install_missing() if options.command == "host" else _engine(options)
    except (build.BuildError, OSError) as error:
        print(f"python -m toolchain: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; what was compiled is kept for the next time.", file=sys.stderr)
        return 130


def _engine(options: argparse.Namespace) -> int:
    found = engine.resolve()
    if not options.json:
        print(found.line, flush=True)
    if not options.no_build:
        found = build.ensure(found, lambda text: print(text, file=sys.stderr, flush=True))
    if options.json:
        print(found.as_json())
    return 0 if found.ready else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
