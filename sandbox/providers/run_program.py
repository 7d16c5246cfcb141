"""Runs a project's Pulumi program; started by the language host with the project's own Python.

The exit code tells the host what to report: 0 done, 32 the error was shown to the user, others unexpected.
"""

from __future__ import annotations

import signal

# The host leaves these blocked. From here on an interrupt ends us without a traceback: the engine already
# tells the user why it stopped.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})

import argparse  # noqa: E402
import asyncio  # noqa: E402
import gc  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import runpy  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Coroutine  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

SHOWN_EXIT_CODE = 32
# The engine's default parallelism times what the official host allows: registrations wait in threads.
THREADS_PER_OPERATION = 4
# New objects between two looks for garbage; Python's own 700 suits programs that run longer.
_GARBAGE_THRESHOLD = 100_000


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("monitor", "engine", "project", "stack", "organization", "root-directory"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--working-directory", type=Path, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("program", type=Path, help="a file, or a directory with a __main__.py")
    parser.add_argument("arguments", nargs="*", help="what the program finds in sys.argv")
    return parser.parse_args(arguments)


def user_traceback(error: BaseException, program: Path) -> str:
    """The traceback from the program's own first frame on: the frames above it are ours and the SDK's."""
    frames = traceback.extract_tb(error.__traceback__)
    entry = {str(program), str(program / "__main__.py")}
    first = next((i for i, frame in enumerate(frames) if str(Path(frame.filename).resolve()) in entry), 0)
    return "".join(traceback.format_exception(error, limit=first - len(frames)))


def run(options: argparse.Namespace) -> int:
    """Run the program as the main program of a stack and return the exit code."""
    # Importing the SDKs makes millions of objects that stay: looking for garbage among them takes a sixth of the time.
    gc.set_threshold(_GARBAGE_THRESHOLD)
    import pulumi
    import pulumi.runtime

    pulumi.runtime.set_all_config(
        pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env()
    )
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            monitor=options.monitor,
            engine=options.engine,
            project=options.project,
            stack=options.stack,
            organization=options.organization,
            root_directory=options.root_directory,
            parallel=options.parallel,
            dry_run=options.dry_run,
        )
    )
    program = options.program.resolve()
    if not program.is_file() and not (program / "__main__.py").is_file():
        pulumi.log.error(f"{program} has no __main__.py: there is no program to run")
        return SHOWN_EXIT_CODE
    os.chdir(options.working_directory)
    sys.argv = [str(options.program), *options.arguments]

    def main() -> None:
        runpy.run_path(str(program), run_name="__main__")

    try:
        _complete(pulumi.runtime.run_in_stack(main), options.parallel)
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
    except Exception as error:  # whatever the program raises is shown to its author, not to ours
        pulumi.log.error(f"Program failed with an unhandled exception:\n{user_traceback(error, program)}")
    else:
        return 0
    return SHOWN_EXIT_CODE


def _complete(program: Coroutine[Any, Any, None], parallel: int) -> None:
    """Run the coroutine in a loop of its own."""
    # A program that fails leaves futures unobserved, which is harmless and nothing to warn its author about.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    with ThreadPoolExecutor(max_workers=max(parallel, 1) * THREADS_PER_OPERATION) as threads:
        loop.set_default_executor(threads)
        try:
            loop.run_until_complete(program)
        finally:
            loop.close()


if __name__ == "__main__":
    try:
        import pulumi as _installed  # noqa: F401
    except ImportError as error:
        print(f"the Pulumi SDK cannot be imported by {sys.executable}: {error}", file=sys.stderr)
        sys.exit(SHOWN_EXIT_CODE)
    sys.exit(run(parse(sys.argv[1:])))
