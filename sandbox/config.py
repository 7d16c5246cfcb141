"""What a sandbox decides once and keeps: its tokens, its port, whether its droplets are real machines."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

DEFAULT_PORT = 7380
# What a new account may have is about so many.
DROPLET_LIMIT = 25
PROVIDERS = ("digitalocean", "cloudflare", "command")
# The edge has three points of presence, each for https and http.
PORTS = (
    *PROVIDERS,
    "edge-https-1",
    "edge-https-2",
    "edge-https-3",
    "edge-http-1",
    "edge-http-2",
    "edge-http-3",
    "dns",
    "s3",
)


class MachineKind(StrEnum):
    """What a droplet is: a booted machine, a record behind a stand-in for its SSH server, or a record alone."""

    REAL = "real"
    SIMULATED = "simulated"
    NONE = "none"


class ConfigError(Exception):
    """The sandbox's own file is unreadable; the text names it and the way on."""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Durable choices of one sandbox; tokens look like the real ones, so that clients' checks accept them."""

    port: int
    machines: MachineKind
    instance: int
    token: str
    cloudflare_token: str
    control_token: str
    spaces_key: str
    spaces_secret: str
    # By name (PORTS); kept, so that a shell's environment and a curl line outlive a restart of the sandbox.
    ports: dict[str, int]
    # Zones that the Cloudflare account owns from its first day, as a customer's does who moved them there.
    zones: list[str]
    rate_limits: bool = True
    droplet_limit: int = DROPLET_LIMIT


def new_config(
    *,
    port: int,
    machines: MachineKind,
    instance: int,
    ports: dict[str, int],
    zones: list[str],
    rate_limits: bool,
    droplet_limit: int = DROPLET_LIMIT,
) -> SandboxConfig:
    return SandboxConfig(
        port=port,
        machines=machines,
        instance=instance,
        # DigitalOcean's personal tokens: "dop_v1_" and 64 hexadecimal digits.
        token=f"dop_v1_{secrets.token_hex(32)}",
        # Cloudflare's provider accepts 40 to 80 of [0-9A-Za-z_-].
        cloudflare_token=secrets.token_urlsafe(30)[:40],
        control_token=secrets.token_urlsafe(32),
        spaces_key=secrets.token_hex(10).upper(),
        spaces_secret=secrets.token_urlsafe(30),
        ports=ports,
        zones=zones,
        rate_limits=rate_limits,
        droplet_limit=droplet_limit,
    )


def load(path: Path) -> SandboxConfig | None:
    """The stored choices, or None for a sandbox that never ran."""
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        return SandboxConfig(**{**stored, "machines": MachineKind(stored["machines"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{path} is not a sandbox configuration ({error}); remove the sandbox with "
            f"`python -m sandbox down --purge --home {path.parent}` and start again"
        ) from error


def save(path: Path, config: SandboxConfig) -> None:
    write_private(path, json.dumps(asdict(config), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
