"""Starting and ending a sandbox from outside its daemon."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sandbox import config as configuration
from sandbox import processes
from sandbox.config import DROPLET_LIMIT, MachineKind, SandboxConfig
from sandbox.disk import Disk, DiskFullError
from sandbox.paths import MARKER, SandboxPaths
from sandbox.providers.plugin_home import install_language_host

Report = Callable[[str], None]

# The daemon ends its machines in order before it goes; they have as long as a real cloud's shutdown.
_ORDERLY_SECONDS = 75.0
_READY_SECONDS = 180.0


class SandboxError(Exception):
    """The sandbox cannot do what was asked; the text names the thing and the way on."""


def running(paths: SandboxPaths) -> bool:
    return processes.ProcessId.read(paths.daemon_pid) is not None


def can_run_machines() -> bool:
    return os.geteuid() == 0 and sys.platform == "linux"


def prepare(
    paths: SandboxPaths,
    *,
    port: int | None,
    machines: MachineKind,
    zones: list[str],
    claim_instance: Callable[[int | None], int],
    rate_limits: bool = True,
    droplet_limit: int = DROPLET_LIMIT,
) -> SandboxConfig:
    """Make the home and its configuration, or take the one that is there; the port may be changed.

    Raises SandboxError, also when the disk has too little room for a sandbox to work.

    `claim_instance` gets the number that the home had before and gives the one that it has now.
    """
    try:
        Disk(paths.home).require()
    except DiskFullError as error:
        raise SandboxError(str(error)) from error
    paths.make()
    known = configuration.load(paths.config)
    if known is None:
        base = configuration.DEFAULT_PORT if port is None else port
        chosen = base or free_port()
        config = configuration.new_config(
            port=chosen,
            machines=machines,
            instance=claim_instance(None),
            ports=_ports({}, base, taken={chosen}, own=frozenset()),
            zones=zones,
            rate_limits=rate_limits,
            droplet_limit=droplet_limit,
        )
    elif known.machines != machines:
        raise SandboxError(
            f"the sandbox in {paths.home} was made with `--machines {known.machines}`; run it so, or remove it with "
            "`python -m sandbox down --purge`"
        )
    else:
        chosen = known.port if port is None else (port or free_port())
        # What a crash left running, such as the edge, goes on where it listens.
        own = processes.listening_ports(processes.of_sandbox(paths.home))
        config = replace(
            known,
            port=chosen,
            instance=claim_instance(known.instance),
            ports=_ports(known.ports, known.port, taken={chosen}, own=own),
            zones=list(dict.fromkeys([*known.zones, *zones])),
            rate_limits=rate_limits,
            droplet_limit=droplet_limit,
        )
    if config != known:
        configuration.save(paths.config, config)
    install_language_host(paths.pulumi_home)
    if not paths.passphrase.exists():
        configuration.write_private(paths.passphrase, f"{os.urandom(24).hex()}\n")
    return config


def _ports(known: dict[str, int], base: int, *, taken: set[int], own: frozenset[int]) -> dict[str, int]:
    """A port for each name: the one it had if that is free or the sandbox's own, else one beside the API's, else
    any. No two are the same, and none is in `taken`."""
    chosen: dict[str, int] = {}
    for offset, name in enumerate(configuration.PORTS, start=1):
        wanted = known.get(name) or (base + offset if base else 0)
        others = taken | set(chosen.values())
        chosen[name] = wanted if wanted in own - others else _free_or_any(wanted, others)
    return chosen


def _free_or_any(wanted: int, others: set[int]) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", wanted))
            if (found := int(probe.getsockname()[1])) not in others:
                return found
    while (found := free_port()) in others:
        continue
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(paths: SandboxPaths, config: SandboxConfig, report: Report) -> None:
    """Start the daemon and wait until it serves; raises SandboxError with its own words if it fails."""
    require_port(config.port)
    reader, writer = os.pipe()
    with paths.log.open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "serve", "--home", str(paths.home), "--ready-fd", str(writer)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[writer],
            start_new_session=True,
            cwd=Path(__file__).resolve().parent.parent,
            env={**os.environ, MARKER: str(paths.home)},
        )
    os.close(writer)
    try:
        _follow(reader, report, paths)
    except BaseException:
        processes.end([daemon.pid], patience=_ORDERLY_SECONDS)
        raise
    finally:
        os.close(reader)


def _follow(reader: int, report: Report, paths: SandboxPaths) -> None:
    """Show the daemon's progress lines until it says it is ready."""
    deadline = time.monotonic() + _READY_SECONDS
    pending = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            break
        chunk = os.read(reader, 65536)
        if not chunk:
            raise SandboxError(f"the sandbox did not start; its last words:\n{last_lines(paths.log)}")
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                raise SandboxError(message["error"])
            if message.get("ready"):
                return
            report(message["progress"])
    raise SandboxError(f"the sandbox was not ready after {_READY_SECONDS:.0f} s; see {paths.log}")


def last_lines(path: Path, count: int = 12) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return f"(no {path})"


def require_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SandboxError(
                f"port {port} on 127.0.0.1 is taken by another program ({error.strerror}); "
                f"choose another with `python -m sandbox up --port {port + 1}`, or any free one with `--port 0`"
            ) from error


def stop(paths: SandboxPaths, *, purge: bool, sweep: Callable[[SandboxPaths], None]) -> None:
    """End the daemon in order, then whatever a crash may have left; also when it is not up."""
    daemon = processes.ProcessId.read(paths.daemon_pid)
    if daemon is not None:
        processes.end([daemon.pid], patience=_ORDERLY_SECONDS)
    processes.end(processes.of_sandbox(paths.home), patience=5.0)
    sweep(paths)
    paths.daemon_pid.unlink(missing_ok=True)
    if purge and paths.home.exists():
        shutil.rmtree(paths.home)
