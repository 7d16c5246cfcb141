"""What a sandbox leaves in the host's kernel, and what it needs of the host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from sandbox.config import MachineKind
from sandbox.lifecycle import SandboxError, can_run_machines
from sandbox.machines import simulated
from sandbox.network import namespaces
from sandbox.network.instances import InstanceError, Instances
from sandbox.paths import SandboxPaths, cache_root
from toolchain import engine, host

BASE_IMAGE = "debian-13-x64"


def claim(paths: SandboxPaths, kind: MachineKind, remembered: int | None) -> int:
    """The sandbox's number on this host; its droplets' addresses come with it, so it is kept."""
    try:
        match kind:
            case MachineKind.REAL:
                return Instances().claim(paths.home, remembered=remembered)
            case MachineKind.SIMULATED:
                return simulated.choose_slice(paths.home, remembered)
            case MachineKind.NONE:
                return 0
    except (InstanceError, simulated.SliceError) as error:
        raise SandboxError(str(error)) from error


def prepare_host(say: Callable[[str], None]) -> None:
    """Check the host's tools and build the base image if this user has none yet (about two minutes)."""
    missing = host.missing_packages()
    if missing:
        raise SandboxError(
            f"real machines need {', '.join(missing)}; install them with `python -m toolchain host` as root, "
            "or start without machines: `python -m sandbox up --machines none`"
        )
    from sandbox.machines import base_image
    from sandbox.machines.port import MachineError

    try:
        asyncio.run(base_image.build(cache_root(), BASE_IMAGE, say))
    except (MachineError, OSError) as error:
        raise SandboxError(f"the image {BASE_IMAGE} could not be built in {cache_root()}: {error}") from error


def sweep(paths: SandboxPaths) -> None:
    """Take away every process, mount, namespace and rule of a sandbox that is not running."""
    if not can_run_machines():
        return
    from sandbox.machines.sweep import sweep as sweep_machines

    sweep_machines(paths.home)
    # Asked of the host, not of the sandbox's own file: that may be damaged or gone.
    instance = Instances().held(paths.home)
    if instance is not None:
        namespaces.sweep(instance)
        Instances().release(paths.home)


def engine_line() -> str:
    return engine.resolve().line


def engine_directory() -> Path | None:
    """Where our own build of the engine is; None when an official one is in use."""
    found = engine.resolve()
    if found.kind == "official":
        return None
    if not found.ready:
        raise SandboxError("the Pulumi engine is not built yet; build it with `python -m toolchain engine`")
    return Path(found.path).parent
