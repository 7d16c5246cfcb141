"""The environment in which Pulumi talks to the sandbox."""

from pathlib import Path

import pytest

from sandbox.config import PORTS, MachineKind, SandboxConfig, new_config
from sandbox.environment import exports
from sandbox.paths import SandboxPaths

PATHS = SandboxPaths(Path("/somewhere"))


@pytest.fixture
def config() -> SandboxConfig:
    ports = {name: 7400 + number for number, name in enumerate(PORTS)}
    return new_config(
        port=7380, machines=MachineKind.NONE, instance=0, ports=ports, zones=[], rate_limits=True
    )


def test_our_engine_is_found_first_and_gets_our_providers(config: SandboxConfig) -> None:
    variables = exports(PATHS, config, Path("/cache/engine"))
    assert variables["PATH"].startswith("/cache/engine:")
    assert variables["PULUMI_DEBUG_PROVIDERS"] == "digitalocean:7400,cloudflare:7401,command:7402"
    assert variables["PULUMI_HOME"] == "/somewhere/pulumi-home"


def test_official_engine_keeps_its_own_home_and_plugins(config: SandboxConfig) -> None:
    variables = exports(PATHS, config, None)
    assert "PULUMI_HOME" not in variables
    assert "PULUMI_DEBUG_PROVIDERS" not in variables


def test_clouds_are_named_as_their_official_clients_read_them(config: SandboxConfig) -> None:
    variables = exports(PATHS, config, None)
    assert variables["DIGITALOCEAN_API_URL"] == "http://127.0.0.1:7380"
    assert variables["CLOUDFLARE_BASE_URL"] == "http://127.0.0.1:7380/client/v4"
    assert variables["DIGITALOCEAN_TOKEN"] == config.token


def test_evaluating_twice_changes_nothing(config: SandboxConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = exports(PATHS, config, Path("/cache/engine"))
    monkeypatch.setenv("PATH", first["PATH"])
    assert exports(PATHS, config, Path("/cache/engine")) == first
