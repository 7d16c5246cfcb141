"""Base images: what a cloud's Debian image has, built once per host and kept in the cache."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.machines import host_apt
from sandbox.machines.apt_sources import AptSource
from sandbox.machines.image_build import Progress, free_place, locked, run_script
from sandbox.machines.port import MachineError

DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# The distribution images of the catalogue that can be built, by slug.
SUITES = {"debian-13-x64": "trixie", "debian-12-x64": "bookworm"}

_BASE = Path(__file__).parent / "base"
_TOOLS = {"debootstrap": "debootstrap", "unshare": "util-linux", "setpriv": "util-linux"}

_PACKAGES = (
    *(
        "ca-certificates",
        "cloud-init",
        "curl",
        "dbus",
        "debian-archive-keyring",
        "e2fsprogs",
        "gpgv",
        "iproute2",
    ),
    *(
        "iputils-ping",
        "less",
        "nano",
        "netbase",
        "netcat-openbsd",
        "nftables",
        "openssh-server",
        "procps",
        "psmisc",
    ),
    *("python3", "rsync", "sudo", "tzdata", "wget"),
)

# Units that serve a screen, a real disk or unattended upgrades: nothing of a server in this cloud.
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "e2scrub_reap.service", "console-getty.service", "getty.target"),
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-networkd-persistent-storage.service"),
    "cloud-init-hotplugd.socket",
)


@dataclass(frozen=True, slots=True)
class BaseImage:
    """A built image in the cache."""

    slug: str
    digest: str
    root: Path  # the root file system, read-only by convention
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Recipe:
    slug: str
    suite: str
    sources: tuple[AptSource, ...]

    @property
    def digest(self) -> str:
        """Changes with everything that shapes the image, except the packages' own versions."""
        summed = hashlib.sha256()
        for file in sorted(path for path in _BASE.rglob("*") if path.is_file()):
            summed.update(f"{file.relative_to(_BASE)}\0".encode() + file.read_bytes() + b"\0")
        summed.update("\0".join((self.suite, *_PACKAGES, *_MASKED)).encode())
        summed.update(machine_sources(self.sources).encode())
        return summed.hexdigest()[:16]


def machine_sources(sources: tuple[AptSource, ...]) -> str:
    """The package sources inside machines: always plain HTTP, because all goes through the cloud's package cache.

    Packages are signed; a mirror that speaks HTTPS only is the cache's business.
    """
    plain = [
        AptSource(
            source.uri.replace("https://", "http://", 1), source.suite, source.components, source.options
        )
        for source in sources
    ]
    return "\n".join(source.render(DEBIAN_KEYRING) for source in plain)


def find(cache: Path, slug: str) -> BaseImage | None:
    """The newest finished build of an image, whatever recipe it was made by; None when there is none."""
    builds = [_read(path) for path in (cache / "images" / slug).glob("*/image.json")]
    return max(builds, key=lambda build: build[0])[1] if builds else None


def _read(manifest: Path) -> tuple[float, BaseImage]:
    facts = json.loads(manifest.read_text())
    image = BaseImage(facts["slug"], facts["digest"], manifest.parent / "root", facts["size_bytes"])
    return float(facts["built_at"]), image


async def build(cache: Path, slug: str, progress: Progress, *, force: bool = False) -> BaseImage:
    """The image of that slug for this recipe: the one in the cache, else built now (a minute or two).

    `progress` gets a line at least every ten seconds. Builds of one cache wait for each other. Raises MachineError
    naming the step that failed; a failed or killed build leaves nothing usable behind and the next one removes it.
    """
    if slug not in SUITES:
        raise MachineError(f"image {slug!r} cannot be built here; known: {', '.join(sorted(SUITES))}")
    check_host()
    suite = SUITES[slug]
    recipe = _Recipe(slug, suite, host_apt.sources_for(suite))
    store = cache / "images" / slug
    store.mkdir(parents=True, exist_ok=True)
    async with locked(store / "lock", progress):
        for leftover in store.glob(".build-*"):
            await asyncio.to_thread(shutil.rmtree, leftover)
        manifest = store / recipe.digest / "image.json"
        if manifest.is_file() and not force:
            return _read(manifest)[1]
        return await _build(store, recipe, progress)


async def _build(store: Path, recipe: _Recipe, progress: Progress) -> BaseImage:
    started = time.monotonic()
    sources = await asyncio.to_thread(host_apt.served, recipe.sources, progress)
    work = store / f".build-{os.getpid()}"
    root = work / "root"
    root.mkdir(parents=True)
    try:
        await _run_script(work, recipe, sources, progress)
        progress("Measuring")
        size = await asyncio.to_thread(disk_usage, root)
        facts = {"slug": recipe.slug, "digest": recipe.digest, "size_bytes": size, "built_at": time.time()}
        (work / "image.json").write_text(json.dumps(facts, indent=2) + "\n")
        for spare in ("build.sources", "machine.sources", "build.conf"):
            (work / spare).unlink()
        final = free_place(store, recipe.digest)
        work.rename(final)
        await asyncio.to_thread(prune, store, final)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
        raise
    seconds = time.monotonic() - started
    progress(f"Built {recipe.slug} ({size / 1e6:.0f} MB) in {seconds:.0f} s")
    return BaseImage(recipe.slug, recipe.digest, final / "root", size)


def claim(root: Path, home: Path) -> None:
    """Note that the sandbox at `home` has disks that are differences to this image, so that it is kept."""
    claims = root.parent / "claims"
    claims.mkdir(exist_ok=True)
    (claims / hashlib.sha256(str(home).encode()).hexdigest()[:16]).write_text(str(home))


def prune(store: Path, newest: Path) -> None:
    """Remove older builds that no sandbox has a disk on any more."""
    for build in store.iterdir():
        if build == newest or not (build / "image.json").is_file():
            continue
        if not any(_stands_on(Path(claim.read_text()), build / "root") for claim in build.glob("claims/*")):
            shutil.rmtree(build)


def _stands_on(home: Path, root: Path) -> bool:
    records = (*home.glob("machines/*/disk.json"), *home.glob("images/*.json"))
    return any(str(root) in json.loads(record.read_text())["layers"] for record in records)


async def _run_script(
    work: Path, recipe: _Recipe, sources: tuple[AptSource, ...], progress: Progress
) -> None:
    (work / "build.sources").write_text("\n".join(source.render(DEBIAN_KEYRING) for source in sources))
    (work / "machine.sources").write_text(machine_sources(sources))
    (work / "build.conf").write_text(host_apt.build_settings())
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "ROOT": str(work / "root"),
        "WORK": str(work),
        "BASE": str(_BASE),
        "SUITE": recipe.suite,
        "MIRROR": sources[0].uri,
        "KEYRING": "none" if sources[0].trusted else DEBIAN_KEYRING,
        "PACKAGES": " ".join(_PACKAGES),
        "MASKED": " ".join(_MASKED),
        **host_apt.proxy_environment(),
    }
    await run_script(_BASE / "build.sh", environment, f"building {recipe.slug}", progress)


def check_host() -> None:
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise MachineError(f"building an image needs: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        raise MachineError("building an image needs root; use sudo")


def disk_usage(root: Path) -> int:
    """Bytes the files of a tree take, each counted once; links are not followed."""
    total, seen = 0, set()
    for directory, _, names in os.walk(root):
        for name in names:
            facts = os.lstat(Path(directory) / name)
            if (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                total += facts.st_blocks * 512
    return total
