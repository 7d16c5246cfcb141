"""Our language host under the real engine: config in, outputs out, errors as one line, no process left behind."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.engine

PROGRAM = """
import pulumi

config = pulumi.Config()
pulumi.export("greeting", f"hello {config.require('who')}")
pulumi.export("web", config.require_object("web"))
pulumi.export("password", config.require_secret("password"))
pulumi.export("stack", f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}")
"""
# Tells its process id through a named pipe and waits for ever.
STUCK = """
import os, pathlib, threading
pathlib.Path("pipe").write_text(str(os.getpid()))
threading.Event().wait()
"""


def test_config_reaches_the_program_and_outputs_come_back(tmp_path: Path) -> None:
    project = Project.create(tmp_path, PROGRAM)
    project.pulumi("config", "set", "who", "world")
    project.pulumi("config", "set", "--path", "web.count", "3")
    project.pulumi("config", "set", "--secret", "password", "correct horse")
    printed = project.pulumi("up", "--yes")
    assert project.outputs() == {
        "greeting": "hello world",
        "web": {"count": 3},
        "password": "correct horse",
        "stack": "organization/tiny/dev",
    }
    assert "correct horse" not in printed
    assert "correct horse" not in "".join(
        path.read_text() for path in (tmp_path / "state").rglob("*") if path.is_file()
    )


def test_no_change_is_found_to_be_none_and_nothing_warns(tmp_path: Path) -> None:
    project = Project.create(tmp_path, "import pulumi\npulumi.export('a', 1)\n")
    first = project.pulumi("up", "--yes")
    project.pulumi("up", "--yes", "--expect-no-changes")
    assert "warning" not in first


def test_a_run_error_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    program = "import pulumi\nraise pulumi.RunError('flotilla:web.count is 0; give 1 to 1000')\n"
    printed = Project.create(tmp_path, program).pulumi("up", "--yes", expect=1)
    assert "error: flotilla:web.count is 0; give 1 to 1000" in printed
    assert "Traceback" not in printed
    assert "exited with" not in printed
    assert printed.count("error:") == 2, "once while it runs and once in the summary"


def test_an_exception_shows_the_programs_own_frames_only(tmp_path: Path) -> None:
    printed = Project.create(tmp_path, "def f():\n    return {}['key']\nf()\n").pulumi(
        "up", "--yes", expect=1
    )
    assert "KeyError: 'key'" in printed
    assert "__main__.py" in printed
    assert "run_program.py" not in printed
    assert "runpy" not in printed


def test_an_exit_code_of_the_program_is_reported(tmp_path: Path) -> None:
    printed = Project.create(tmp_path, "import sys\nsys.exit(3)\n").pulumi("up", "--yes", expect=1)
    assert "exited with code 3" in printed


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    project = Project.create(tmp_path, "")
    (project.root / "__main__.py").unlink()
    printed = project.pulumi("up", "--yes", expect=1)
    assert "has no __main__.py" in printed


def test_a_missing_virtual_environment_is_named(tmp_path: Path) -> None:
    project = Project.create(tmp_path, "")
    (project.root / ".venv").unlink()
    printed = project.pulumi("up", "--yes", expect=1)
    assert f"{project.root / '.venv'} has no bin/python" in printed


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_an_ended_engine_leaves_no_process_and_no_traceback(tmp_path: Path, sent: signal.Signals) -> None:
    project = Project.create(tmp_path, STUCK)
    pipe = project.root / "pipe"
    os.mkfifo(pipe)
    with project.start("preview") as engine:
        program = int(pipe.read_text())
        watched = [os.pidfd_open(pid) for pid in (program, parent_of(program))]
        engine.send_signal(sent)
        if sent is signal.SIGINT:
            printed, _ = engine.communicate(timeout=30)
            assert "Traceback" not in printed
            assert "KeyboardInterrupt" not in printed
        else:
            engine.wait(30)
        for descriptor in watched:
            await_end(descriptor, seconds=10)
            os.close(descriptor)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def await_end(descriptor: int, *, seconds: float) -> None:
    """Wait for the end of the process behind a pidfd."""
    ready, _, _ = select.select([descriptor], [], [], seconds)
    assert ready, f"a process of the engine still runs after {seconds} s"
