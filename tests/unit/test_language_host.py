"""What the language host starts a program with and how it reports its end."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import language_pb2

from sandbox.providers import language_host, plugin_home, run_program


def program_info(root: Path, **options: str) -> language_pb2.ProgramInfo:
    struct = Struct()
    struct.update(options)
    return language_pb2.ProgramInfo(
        root_directory=str(root), program_directory=str(root), entry_point=".", options=struct
    )


def request(root: Path) -> language_pb2.RunRequest:
    return language_pb2.RunRequest(
        info=program_info(root),
        monitor_address="127.0.0.1:1",
        project="site",
        stack="dev",
        organization="organization",
        parallel=16,
        dryRun=True,
        config={"site:password": "hunter2"},
        configSecretKeys=["site:password"],
    )


def test_the_runner_understands_what_the_host_passes(tmp_path: Path) -> None:
    options = run_program.parse(language_host.runner_arguments(request(tmp_path), "127.0.0.1:2"))
    assert (options.monitor, options.engine) == ("127.0.0.1:1", "127.0.0.1:2")
    assert (options.project, options.stack, options.organization) == ("site", "dev", "organization")
    assert (options.program, options.working_directory) == (tmp_path, tmp_path)
    assert (options.parallel, options.dry_run) == (16, True)


def test_config_goes_by_environment_never_by_argument(tmp_path: Path) -> None:
    environment = language_host.runner_environment(request(tmp_path))
    assert json.loads(environment["PULUMI_CONFIG"]) == {"site:password": "hunter2"}
    assert json.loads(environment["PULUMI_CONFIG_SECRET_KEYS"]) == ["site:password"]
    assert "hunter2" not in " ".join(language_host.runner_arguments(request(tmp_path), "127.0.0.1:2"))


def test_the_projects_virtual_environment_runs_the_program(tmp_path: Path) -> None:
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert language_host.interpreter(program_info(tmp_path, virtualenv="env")) == python


def test_without_a_virtual_environment_the_hosts_python_does(tmp_path: Path) -> None:
    assert language_host.interpreter(program_info(tmp_path)) == Path(sys.executable)


@pytest.mark.parametrize(
    ("exit_code", "error", "bail"),
    [
        (0, "", False),
        (32, "", True),
        (3, "the Python program exited with code 3", False),
        (-9, "the Python program was ended by signal SIGKILL", False),
    ],
)
def test_verdict(exit_code: int, error: str, *, bail: bool) -> None:
    found = language_host.verdict(exit_code)
    assert (found.error, found.bail) == (error, bail)


def test_the_host_is_linked_into_a_plugin_cache_again_and_again(tmp_path: Path) -> None:
    plugin_home.install_language_host(tmp_path)
    link = plugin_home.install_language_host(tmp_path)
    assert link.resolve() == plugin_home.LANGUAGE_HOST
    assert link.stat().st_mode & 0o111
    assert [entry.name for entry in link.parent.iterdir()] == ["pulumi-language-python"]


def test_a_provider_whose_port_refuses_is_absent(unused_tcp_port_factory: Callable[[], int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as served:
        here, gone = f"command:{served.getsockname()[1]}", f"cloudflare:{unused_tcp_port_factory()}"
        assert language_host.absent_providers(f"{here},{gone}") == [gone]


def test_without_attached_providers_none_is_absent() -> None:
    assert language_host.absent_providers("") == []
