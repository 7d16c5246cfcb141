"""Starting and ending a sandbox from outside."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from sandbox import config, lifecycle, processes
from sandbox.config import ConfigError, MachineKind
from sandbox.lifecycle import SandboxError
from sandbox.paths import MARKER, SandboxPaths


def prepare(
    home: Path, *, port: int | None = 0, machines: MachineKind = MachineKind.NONE
) -> config.SandboxConfig:
    paths = SandboxPaths(home)
    return lifecycle.prepare(
        paths, port=port, machines=machines, zones=["foobar.com"], claim_instance=lambda known: known or 3
    )


def test_tokens_and_ports_are_kept(tmp_path: Path) -> None:
    first = prepare(tmp_path / "home")
    assert prepare(tmp_path / "home", port=None) == first


def test_every_port_is_another_one(tmp_path: Path) -> None:
    chosen = prepare(tmp_path / "home")
    ports = [chosen.port, *chosen.ports.values()]
    assert len(set(ports)) == len(ports)


def test_a_port_that_another_program_took_is_replaced(tmp_path: Path) -> None:
    first = prepare(tmp_path / "home")
    with socket.create_server(("127.0.0.1", first.ports["edge-https-1"])):
        second = prepare(tmp_path / "home", port=None)
    assert second.ports["edge-https-1"] != first.ports["edge-https-1"]
    assert second.ports["edge-https-2"] == first.ports["edge-https-2"]


def test_a_port_that_its_own_process_holds_since_a_crash_is_kept(tmp_path: Path) -> None:
    first = prepare(tmp_path / "home")
    with socket.create_server(("127.0.0.1", first.ports["edge-https-1"])) as listener:
        marked = {**os.environ, MARKER: str(tmp_path / "home")}
        edge = subprocess.Popen(
            ["sh", "-c", "echo started; exec sleep 60"],
            env=marked,
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
        )
    try:
        # The kernel shows a new program's environment a moment after it runs.
        assert edge.stdout is not None
        assert edge.stdout.readline() == b"started\n"
        assert prepare(tmp_path / "home", port=None) == first
    finally:
        edge.kill()
        edge.communicate()


def test_what_it_keeps_is_closed_to_others(tmp_path: Path) -> None:
    prepare(tmp_path / "home")
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0
    assert (tmp_path / "home" / "sandbox.json").stat().st_mode & 0o077 == 0
    assert (tmp_path / "home" / "passphrase").stat().st_mode & 0o077 == 0


def test_records_do_not_turn_into_machines(tmp_path: Path) -> None:
    prepare(tmp_path / "home")
    with pytest.raises(SandboxError, match="made with `--machines none`"):
        prepare(tmp_path / "home", machines=MachineKind.REAL)


def test_damaged_configuration_names_the_file_and_the_way_on(tmp_path: Path) -> None:
    prepare(tmp_path / "home")
    (tmp_path / "home" / "sandbox.json").write_text("{")
    with pytest.raises(ConfigError, match=r"sandbox\.json.*down --purge"):
        prepare(tmp_path / "home")


def test_taken_port_is_named_with_a_way_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(SandboxError, match=rf"port {port} on 127\.0\.0\.1 is taken.*--port"):
            lifecycle.require_port(port)


def test_marked_process_is_found_and_ended(tmp_path: Path) -> None:
    stray = subprocess.Popen(["sleep", "60"], env={**os.environ, MARKER: str(tmp_path)})
    assert processes.of_sandbox(tmp_path) == [stray.pid]
    processes.end([stray.pid], patience=5)
    assert stray.wait(5) == -15
    assert processes.of_sandbox(tmp_path) == []


def test_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    deaf = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo ready; read line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert deaf.stdout is not None
    deaf.stdout.readline()
    processes.end([deaf.pid], patience=0.1)
    assert deaf.wait(5) == -9


def test_pid_file_of_an_earlier_process_names_nobody(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    processes.ProcessId(os.getpid(), 1).write(file)
    assert processes.ProcessId.read(file) is None


def test_why_it_did_not_start_is_said_shortly_and_logged_in_full(tmp_path: Path) -> None:
    paths = SandboxPaths(tmp_path / "home")
    chosen = prepare(paths.home)
    paths.database.write_text("this is no database")
    with pytest.raises(SandboxError, match=r"DatabaseError: .*daemon\.log"):
        lifecycle.start(paths, chosen, lambda _: None)
    assert "Traceback" in paths.log.read_text()
    assert processes.of_sandbox(paths.home) == []
