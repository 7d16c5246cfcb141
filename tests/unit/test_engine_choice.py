"""Which Pulumi engine is used, and what the user is told about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchain import engine
from toolchain.engine import Engine, Official, decide, parse_version

NEEDED = {"cloudflare": "6.23.1", "command": "1.2.1", "digitalocean": "4.84.1"}
OWN = Engine("own", "/cache/engine/3.259.0/pulumi", "3.259.0", "", ready=False)
ALL_PLUGINS = {name: frozenset({version}) for name, version in NEEDED.items()}


def official(
    version: str = "v3.260.1",
    plugins: dict[str, frozenset[str]] | None = None,
    *,
    has_language_host: bool = True,
) -> Official:
    return Official(
        "/usr/bin/pulumi", version, ALL_PLUGINS if plugins is None else plugins, has_language_host
    )


def test_official_engine_with_everything_is_used() -> None:
    chosen = decide(official(), NEEDED, OWN)
    assert (chosen.kind, chosen.path, chosen.ready) == ("official", "/usr/bin/pulumi", True)


def test_a_plugin_on_path_counts_at_any_version() -> None:
    plugins = {**ALL_PLUGINS, "digitalocean": frozenset({"*"})}
    assert decide(official(plugins=plugins), NEEDED, OWN).kind == "official"


def test_nothing_on_path_means_our_own_and_says_so() -> None:
    chosen = decide(None, NEEDED, OWN)
    assert chosen.kind == "own"
    assert chosen.line == (
        "Engine: pulumi 3.259.0 (our own build, /cache/engine/3.259.0/pulumi): "
        "there is no official `pulumi` on PATH"
    )


@pytest.mark.parametrize("version", ["v3.237.9", "v4.0.0", "v2.25.2", "unknown"])
def test_unsupported_version_is_named_with_the_supported_ones(version: str) -> None:
    chosen = decide(official(version), NEEDED, OWN)
    assert chosen.kind == "own"
    assert version in chosen.reason
    assert "3.238.0 or newer and below 4" in chosen.reason


def test_missing_and_outdated_plugins_are_named_with_the_command_that_installs_them() -> None:
    plugins = {"command": frozenset({"1.2.1"}), "digitalocean": frozenset({"4.10.0"})}
    chosen = decide(official(plugins=plugins), NEEDED, OWN)
    assert chosen.kind == "own"
    assert "pulumi plugin install resource cloudflare 6.23.1" in chosen.reason
    assert "pulumi plugin install resource digitalocean 4.84.1" in chosen.reason
    assert "command 1.2.1" not in chosen.reason


def test_engine_without_language_host_is_not_used() -> None:
    chosen = decide(official(has_language_host=False), NEEDED, OWN)
    assert chosen.kind == "own"
    assert "pulumi-language-python" in chosen.reason


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("v3.259.0\n", (3, 259, 0)),
        ("3.260.0-alpha.1", (3, 260, 0)),
        ("v10.0.12", (10, 0, 12)),
        ("pulumi", None),
        ("", None),
    ],
)
def test_version_parsing(text: str, numbers: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == numbers


def test_the_engine_and_its_sdk_are_pinned_to_the_same_version() -> None:
    import importlib.metadata

    go_mod = (engine.source_directory() / "go.mod").read_text()
    assert engine.pinned_version(go_mod) == importlib.metadata.version("pulumi")


def test_go_mod_without_the_engine_is_an_error_that_names_the_file() -> None:
    with pytest.raises(ValueError, match=r"restore toolchain/go\.mod"):
        engine.pinned_version("module x\n")


def fake_pulumi(directory: Path, version: str, listing: list[dict[str, str]]) -> Path:
    directory.mkdir(parents=True)
    script = directory / "pulumi"
    script.write_text(
        f"#!/bin/sh\ncase $1 in version) echo {version};; plugin) echo '{json.dumps(listing)}';; esac\n"
    )
    script.chmod(0o755)
    (directory / "pulumi-language-python").touch()
    return script


def test_an_official_engine_on_path_is_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"kind": "resource", "name": "command", "version": "1.2.1"},
        {"kind": "language", "name": "go", "version": "3.260.1"},
    ]
    script = fake_pulumi(tmp_path / "bin", "v3.260.1", rows)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    found = engine.find_official()
    assert found is not None
    assert (found.path, found.version, found.has_language_host) == (str(script), "v3.260.1", True)
    assert found.plugins == {"command": frozenset({"1.2.1"})}


def test_our_own_build_on_path_is_not_taken_for_an_official_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script = fake_pulumi(tmp_path / "flotilla" / "engine" / "3.259.0", "v3.259.0", [])
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    assert engine.find_official() is None


def test_a_broken_pulumi_on_path_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "pulumi"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    chosen = decide(engine.find_official(), NEEDED, OWN)
    assert chosen.kind == "own"
    assert "unknown" in chosen.reason
