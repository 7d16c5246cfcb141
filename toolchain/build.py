"""Builds the pinned engine from its published Go module into the user's cache, once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

from toolchain import golang
from toolchain.engine import MODULE, Engine, source_directory

# Packages of a whole build, the standard library included: `go list -deps` of the command counts 1686.
PACKAGES = 1686
# Nobody waits longer than this without a line.
SILENCE_SECONDS = 10.0
KEPT_LINES = 15

Say = Callable[[str], None]


class BuildError(Exception):
    """The engine could not be built; the text has the compiler's last lines and the way on."""


def ensure(engine: Engine, say: Say) -> Engine:
    """The engine, built if it is ours and not there yet. Two builds at once wait for each other."""
    if engine.kind == "official" or Path(engine.path).exists():
        return engine
    target = Path(engine.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent / ".lock", say):
        if not target.exists():
            build(target, engine.version, say)
    return Engine(engine.kind, engine.path, engine.version, engine.reason, ready=True)


def build_command(go: str, version: str, output: Path) -> list[str]:
    stamp = f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={version}"
    flags = ["-v", "-trimpath", "-ldflags", f"-s -w {stamp}"]
    return [go, "build", *flags, "-o", str(output), f"{MODULE}/cmd/pulumi"]


def build(target: Path, version: str, say: Say) -> None:
    """Compile to a temporary name and rename: a target that exists is whole."""
    try:
        go = golang.find_go(say)
    except golang.GoError as error:
        raise BuildError(str(error)) from error
    say(f"Building the Pulumi engine {version} once (4 to 8 minutes on 2 cores), into {target}")
    started = time.monotonic()
    for abandoned in target.parent.glob(".build-*"):
        shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as work:
        output = Path(work) / target.name
        _compile(build_command(go, version, output), say)
        output.rename(target)
    say(f"Built the engine in {duration(time.monotonic() - started)}")


def _compile(command: list[str], say: Say) -> None:
    # The engine needs no C: built so, the result is the same whether the machine has a compiler or not.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    process = subprocess.Popen(
        command,
        cwd=source_directory(),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        _follow(process, kept, say)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode != 0:
        tail = "\n".join(f"  {line}" for line in kept) or "  (it printed nothing)"
        raise BuildError(
            f"`go build` of the engine ended with {process.returncode}. Its last lines:\n{tail}\n"
            "Mend what they name (network, disk space) and run `python -m toolchain engine` again; what was "
            "compiled is kept."
        )


def _follow(process: subprocess.Popen[str], kept: deque[str], say: Say) -> None:
    """Count what the compiler reports until it ends, with a line at least every SILENCE_SECONDS."""
    lines: SimpleQueue[str | None] = SimpleQueue()
    started = time.monotonic()
    downloaded = compiled = 0
    due = started + SILENCE_SECONDS
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    while (line := _next(lines, due - time.monotonic())) is not None:
        if line.startswith("go: downloading"):
            downloaded += 1
        elif line:
            kept.append(line)
            compiled += 1
        if time.monotonic() >= due:
            say(progress(downloaded, compiled, time.monotonic() - started))
            due = time.monotonic() + SILENCE_SECONDS
    process.wait()


def _read(process: subprocess.Popen[str], lines: SimpleQueue[str | None]) -> None:
    if process.stderr is not None:
        for line in process.stderr:
            lines.put(line.rstrip())
    lines.put(None)


def _next(lines: SimpleQueue[str | None], patience: float) -> str | None:
    """The next line, an empty one when none came in time, None at the end."""
    try:
        return lines.get(timeout=max(patience, 0.001))
    except Empty:
        return ""


def progress(downloaded: int, compiled: int, seconds: float) -> str:
    if compiled == 0:
        return f"  {duration(seconds)}: {downloaded} modules downloaded"
    share = min(99, compiled * 100 // PACKAGES)
    return f"  {duration(seconds)}: {compiled} packages compiled ({share} %)"


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Hold the file's lock; while another process has it, say so now and then."""
    with path.open("w") as file:
        taken = threading.Event()

        def take() -> None:
            fcntl.flock(file, fcntl.LOCK_EX)
            taken.set()

        # A daemon, so that ^C need not wait for the other process.
        threading.Thread(target=take, daemon=True).start()
        started = time.monotonic()
        patience = 0.5
        while not taken.wait(patience):
            waited = duration(time.monotonic() - started)
            say(f"  {waited}: another process builds the engine; waiting for it")
            patience = SILENCE_SECONDS
        yield
