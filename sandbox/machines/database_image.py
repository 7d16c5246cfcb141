"""The image of database nodes: a layer with MariaDB and PostgreSQL on the distribution image, built once per host."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.machines import base_image, host_apt
from sandbox.machines.image_build import Progress, free_place, locked, run_script

# Its key in the image store; no droplet can be made of it.
KEY = "managed-database"
_BELOW = "debian-13-x64"
_FILES = Path(__file__).parent / "database"
_PACKAGES = ("mariadb-server", "postgresql", "ssl-cert")
# A node has no operator and no addresses of its own making: the driver sets it up from outside.
_MASKED = ("ssh.service", "ssh.socket", "systemd-networkd.service", "systemd-networkd.socket")


@dataclass(frozen=True, slots=True)
class DatabaseImage:
    """A built image in the cache."""

    layers: tuple[Path, Path]  # lowest first
    size_bytes: int


def _digest(below: base_image.BaseImage) -> str:
    """Changes with everything that shapes the layer, except where packages come from and their own versions."""
    summed = hashlib.sha256()
    for file in sorted(path for path in _FILES.rglob("*") if path.is_file()):
        summed.update(f"{file.relative_to(_FILES)}\0".encode() + file.read_bytes() + b"\0")
    summed.update("\0".join((str(below.root), *_PACKAGES, *_MASKED)).encode())
    return summed.hexdigest()[:16]


def find(cache: Path) -> DatabaseImage | None:
    """The newest finished build of this very recipe, which the driver of the nodes relies on; None without one."""
    below = base_image.find(cache, _BELOW)
    if below is None:
        return None
    manifests = _store(cache).glob(f"{_digest(below)}*/image.json")
    builds: list[dict[str, Any]] = [
        json.loads(path.read_text()) | {"place": path.parent} for path in manifests
    ]
    return _image(max(builds, key=lambda build: float(build["built_at"]))) if builds else None


async def build(
    cache: Path, progress: Progress, *, package_port: int | None = None, force: bool = False
) -> DatabaseImage:
    """The image for this recipe: the one in the cache, else built now (half a minute, and the distribution image first
    if that is missing).

    With `package_port` packages come through the package proxy on that port of the host's loopback, else from where
    the host gets its own. Raises MachineError naming the step that failed.
    """
    built = await base_image.build(cache, _BELOW, progress)
    # Another recipe's may be newer, and is what `find` looks for.
    below = base_image.find(cache, _BELOW) or built
    store = _store(cache)
    store.mkdir(parents=True, exist_ok=True)
    async with locked(store / "lock", progress):
        for leftover in store.glob(".build-*"):
            await asyncio.to_thread(shutil.rmtree, leftover)
        if (found := find(cache)) and not force:
            return found
        return await _build(store, below, package_port, progress)


async def _build(
    store: Path, below: base_image.BaseImage, package_port: int | None, progress: Progress
) -> DatabaseImage:
    started = time.monotonic()
    work = store / f".build-{os.getpid()}"
    work.mkdir()
    try:
        await _prepare(work, below, package_port, progress)
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "WORK": str(work),
            "BELOW": str(below.root),
            "FILES": str(_FILES),
            "PACKAGES": " ".join(_PACKAGES),
            "MASKED": " ".join(_MASKED),
        }
        await run_script(_FILES / "build.sh", environment, f"building {KEY}", progress)
        size = below.size_bytes + await asyncio.to_thread(base_image.disk_usage, work / "root")
        facts = {"below": str(below.root), "size_bytes": size, "built_at": time.time()}
        for spare in ("build.sources", "build.conf"):
            (work / spare).unlink()
        (work / "image.json").write_text(json.dumps(facts, indent=2) + "\n")
        final = free_place(store, _digest(below))
        work.rename(final)
        await asyncio.to_thread(base_image.prune, store, final)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
        raise
    progress(f"Built {KEY} ({size / 1e6:.0f} MB) in {time.monotonic() - started:.0f} s")
    return _image(facts | {"place": final})


async def _prepare(
    work: Path, below: base_image.BaseImage, package_port: int | None, progress: Progress
) -> None:
    """Write down for the script where packages come from."""
    proxy = host_apt.proxy_environment().get("http_proxy", "DIRECT")
    if package_port is None:
        known = host_apt.sources_for(base_image.SUITES[_BELOW])
        sources = await asyncio.to_thread(host_apt.served, known, progress)
        stanzas = "\n".join(source.render(base_image.DEBIAN_KEYRING) for source in sources)
    else:
        proxy = f"http://127.0.0.1:{package_port}"
        machine = below.root / "etc/apt/sources.list.d/debian.sources"
        stanzas = machine.read_text()
    (work / "build.sources").write_text(stanzas)
    # Last, because it overrides what machines are told.
    settings = f'{host_apt.build_settings()}Acquire::http::Proxy "{proxy}";\n'
    (work / "build.conf").write_text(settings)


def _store(cache: Path) -> Path:
    return cache / "images" / KEY


def _image(facts: dict[str, Any]) -> DatabaseImage:
    return DatabaseImage((Path(facts["below"]), facts["place"] / "root"), facts["size_bytes"])
