"""Which Pulumi engine runs: an official one that has what the program needs, otherwise our own build."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

MODULE = "github.com/pulumi/pulumi/pkg/v3"
# The provider plugins the program needs, and the SDK package that decides the version of each.
PLUGINS = {
    "cloudflare": "pulumi-cloudflare",
    "command": "pulumi-command",
    "digitalocean": "pulumi-digitalocean",
}
# Since 3.238.0 a failing after hook fails the deployment, and `refresh` adopts pending creates
# (https://github.com/pulumi/pulumi/releases/tag/v3.238.0). 4 may change the provider protocol.
OLDEST = (3, 238, 0)
TOO_NEW = (4, 0, 0)
# `pulumi version` starts no plugin; more than this is a broken installation.
PROBE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Official:
    """A `pulumi` found on PATH that is not our build."""

    path: str
    version: str
    plugins: Mapping[
        str, frozenset[str]
    ]  # installed versions by name; "*" is one on PATH, used at any version
    has_language_host: bool


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine in use and the reason, for one line on screen."""

    kind: Literal["official", "own"]
    path: str
    version: str
    reason: str
    ready: bool  # False: our own, not built yet

    @property
    def line(self) -> str:
        who = "official" if self.kind == "official" else "our own build"
        return f"Engine: pulumi {self.version} ({who}, {self.path}): {self.reason}"

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


def decide(official: Official | None, needed: Mapping[str, str], own: Engine) -> Engine:
    """The official engine when nothing is missing, else `own` with what would change that as its reason."""
    if official is None:
        return _own(own, "there is no official `pulumi` on PATH")
    version = parse_version(official.version)
    if version is None or not OLDEST <= version < TOO_NEW:
        supported = f"{'.'.join(map(str, OLDEST))} or newer and below {TOO_NEW[0]}"
        return _own(
            own, f"{official.path} is version {official.version}; to use it, install one that is {supported}"
        )
    if not official.has_language_host:
        return _own(
            own,
            f"{official.path} has no pulumi-language-python beside it; "
            "to use it, install the whole official distribution",
        )
    missing = [
        f"{name} {wanted}"
        for name, wanted in sorted(needed.items())
        if not official.plugins.get(name, frozenset()) & {wanted, "*"}
    ]
    if missing:
        commands = "; ".join(f"pulumi plugin install resource {plugin}" for plugin in missing)
        return _own(own, f"{official.path} lacks plugins; to use it: {commands}")
    return Engine(
        "official", official.path, official.version, "it is on PATH with all its plugins", ready=True
    )


def _own(own: Engine, reason: str) -> Engine:
    return Engine("own", own.path, own.version, reason, own.ready)


def parse_version(text: str) -> tuple[int, int, int] | None:
    """Numbers of a version such as `v3.259.0` or `3.260.0-alpha.1`; None for anything else."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "flotilla"


def source_directory() -> Path:
    """Where go.mod pins the engine."""
    return Path(__file__).resolve().parent


def pinned_version(go_mod: str) -> str:
    """The engine's version in a go.mod, without its `v`."""
    match = re.search(rf"^\s*{re.escape(MODULE)} v(\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise ValueError(f"go.mod requires no {MODULE}; restore toolchain/go.mod")
    return match[1]


def own_engine() -> Engine:
    """Our build of the pinned version: where it is or will be."""
    version = pinned_version((source_directory() / "go.mod").read_text())
    path = cache_root() / "engine" / version / "pulumi"
    return Engine("own", str(path), version, "", path.exists())


def resolve() -> Engine:
    """The engine for this shell; starts no build (see `toolchain.build.ensure`)."""
    needed = {name: importlib.metadata.version(package) for name, package in PLUGINS.items()}
    return decide(find_official(), needed, own_engine())


def find_official() -> Official | None:
    """The first `pulumi` on PATH that is not one of our builds."""
    ours = cache_root() / "engine"
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which("pulumi", path=directory) if directory else None
        if found is not None and not Path(found).resolve().is_relative_to(ours.resolve()):
            return _probe(found)
    return None


def _probe(path: str) -> Official:
    # The official distribution keeps its language hosts there; one elsewhere on PATH may be ours.
    beside = Path(path).resolve().parent / "pulumi-language-python"
    return Official(
        path=path,
        version=_output([path, "version"]).strip() or "unknown",
        plugins=installed_plugins(_output([path, "plugin", "ls", "--json"])),
        has_language_host=beside.exists(),
    )


def installed_plugins(listing: str) -> dict[str, frozenset[str]]:
    """Resource plugins by name from `pulumi plugin ls --json`, and those on PATH."""
    try:
        rows = json.loads(listing or "[]")
    except ValueError:
        rows = []
    plugins: dict[str, frozenset[str]] = {}
    for row in rows:
        if row.get("kind") == "resource":
            name = row["name"]
            plugins[name] = plugins.get(name, frozenset()) | {row.get("version", "")}
    for name in PLUGINS:
        if shutil.which(f"pulumi-resource-{name}"):
            plugins[name] = plugins.get(name, frozenset()) | {"*"}
    return plugins


def _output(command: list[str]) -> str:
    """What a command prints; nothing when it fails or hangs, which makes its engine unusable."""
    environment = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
