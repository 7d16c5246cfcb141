"""Network namespaces seen from outside: run, bind and write inside one, find and sweep those of a sandbox."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sandbox.network import plan

DIRECTORY = Path("/run/netns")

_CLONE_NEWNET = 0x40000000

_Result = TypeVar("_Result")


class NetworkError(Exception):
    """The network could not be made as asked; the text says which command failed and why."""


def namespace_path(name: str) -> Path:
    """The file that stands for a namespace, as `systemd-nspawn --network-namespace-path=` takes it."""
    return DIRECTORY / name


def namespaces(instance: int) -> frozenset[str]:
    """Namespaces of a sandbox that really exist.

    A file that is no mount point is left from before a reboot (where /run is kept); it is removed.
    """
    found = set()
    for path in _files(instance):
        if path.lstat().st_dev == DIRECTORY.stat().st_dev:
            path.unlink()
        else:
            found.add(path.name)
    return frozenset(found)


def in_namespace(name: str, action: Callable[[], _Result]) -> _Result:
    """Run `action` in a thread of its own that lives in the namespace; sockets it makes stay there for good.

    Raises NetworkError when there is no such namespace, and whatever `action` raises.
    """
    outcome: list[_Result] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            _enter(name)
            outcome.append(action())
        except BaseException as error:  # handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=work, name=f"netns {name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def bind_in_namespace(
    name: str, family: socket.AddressFamily, kind: socket.SocketKind, address: str, port: int
) -> socket.socket:
    """A socket bound inside a namespace and usable from here, without a route between; TCP ones listen."""

    def bind() -> socket.socket:
        bound = socket.socket(family, kind)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((address, port))
            if kind == socket.SOCK_STREAM:
                bound.listen(128)
            bound.setblocking(False)
        except OSError as error:
            bound.close()
            raise NetworkError(
                f"cannot bind {address} port {port} in namespace {name}: {error.strerror}"
            ) from error
        return bound

    return in_namespace(name, bind)


def set_kernel(name: str, settings: dict[str, str]) -> None:
    """Write net.* settings of one namespace, keyed by path under /proc/sys/net; the host's own stay."""

    def write() -> None:
        for key, value in settings.items():
            Path("/proc/sys/net", key).write_text(value)

    in_namespace(name, write)


def sweep(instance: int) -> None:
    """Remove everything a sandbox ever made in the host's kernel; safe at any time, also after a crash.

    Processes still running in a namespace keep it alive, unnamed and without a cable, until they end.
    """
    link = plan.host_link(instance)
    if Path("/sys/class/net", link).exists():
        _run(["ip", "link", "del", link])
    names = namespaces(instance)
    router = f"{plan.prefix(instance)}router"
    cables = ["group", str(plan.CABLES)]
    if router in names and _run(["ip", "-n", router, "link", "show", *cables]):
        # All cables at once and now: by itself the kernel gets to it only after the last socket there is closed.
        _run(["ip", "-n", router, "link", "del", *cables])
    if names:
        _run(["ip", "-batch", "-"], "".join(f"netns del {name}\n" for name in sorted(names)))
    _tidy_directory()


def _tidy_directory() -> None:
    """Take back the directory that iproute2 made and mounted on itself, once nobody has a namespace in it."""
    if not DIRECTORY.is_dir() or any(DIRECTORY.iterdir()):
        return
    if DIRECTORY.is_mount():
        # Somebody else may be making a namespace right now: then it stays.
        subprocess.run(["umount", str(DIRECTORY)], capture_output=True, check=False)
    with contextlib.suppress(OSError):
        DIRECTORY.rmdir()


def _run(command: list[str], text: str = "") -> str:
    """Its output; raises NetworkError when it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def _files(instance: int) -> list[Path]:
    return sorted(DIRECTORY.glob(f"{plan.prefix(instance)}*")) if DIRECTORY.is_dir() else []


def _enter(name: str) -> None:
    """Move the calling thread, and only it, into the namespace (os.setns exists from Python 3.12 on)."""
    try:
        descriptor = os.open(namespace_path(name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NetworkError(f"network namespace {name} does not exist: is the sandbox up?") from error
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise NetworkError(
                f"cannot enter network namespace {name}: {os.strerror(number)} (root is needed)"
            )
    finally:
        os.close(descriptor)
