"""The bundles on a machine: each in a directory of its own, one in force by a symbolic link.

A bundle directory is complete and on disk before the link is switched, and the link is switched by one rename, so
a machine that loses power has the old bundle or the new one, never a mixture.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fleet.machine import places
from fleet.machine.host import Host


def digest_of(files: Mapping[str, str]) -> str:
    """Name of a bundle: equal files, equal name."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


class BundleStore:
    """Bundles by the digest of their files."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def current(self) -> str | None:
        """Name of the bundle in force."""
        try:
            return self._host.path(places.CURRENT).readlink().name
        except FileNotFoundError:
            return None

    def applied(self) -> str | None:
        """Name of the last bundle that the services follow; differs from the current one after a crash."""
        return self._host.read(places.APPLIED)

    def stage(self, files: Mapping[str, str]) -> str:
        """Lay a bundle's files (path -> text), readable by root only, without putting it in force."""
        digest = digest_of(files)
        root = self._host.path(places.BUNDLES)
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        root.chmod(0o700)
        unfinished = root / f".{digest}"
        shutil.rmtree(unfinished, ignore_errors=True)
        for name, text in files.items():
            self._host.write(f"{places.BUNDLES}/.{digest}/{name}", text)
        for directory in (unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())):
            directory.chmod(0o700)
            _sync(directory)
        shutil.rmtree(root / digest, ignore_errors=True)
        unfinished.rename(root / digest)
        _sync(root)
        return digest

    def activate(self, digest: str) -> None:
        """Put a staged bundle in force."""
        link = self._host.path(places.CURRENT)
        new = link.with_name(".current")
        new.unlink(missing_ok=True)
        new.symlink_to(f"bundles/{digest}")
        new.replace(link)
        _sync(link.parent)

    def deactivate(self) -> None:
        """No bundle is in force any more."""
        self._host.path(places.CURRENT).unlink(missing_ok=True)

    def files(self, digest: str | None) -> dict[str, str]:
        """What a staged bundle holds."""
        if digest is None:
            return {}
        root = self._host.path(f"{places.BUNDLES}/{digest}")
        return {
            str(path.relative_to(root)): path.read_text(encoding="utf-8")
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def settle(self, digest: str) -> None:
        """The services follow this bundle. Every other is removed: old secrets do not stay on disk."""
        self._host.write(places.APPLIED, digest)
        for path in self._host.path(places.BUNDLES).iterdir():
            if path.name != digest:
                shutil.rmtree(path)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
