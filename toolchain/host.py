"""The Debian packages that real machines need on the host, installed once when we are root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A command each package brings, to see whether it is there without asking the package manager.
PACKAGES = {
    "apt-cacher-ng": "/usr/sbin/apt-cacher-ng",
    "ca-certificates": "/usr/sbin/update-ca-certificates",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "e2fsprogs": "mkfs.ext4",
    "haproxy": "haproxy",
    "iproute2": "ip",
    "nftables": "nft",
    "openssh-client": "ssh",
    "systemd-container": "systemd-nspawn",
    "util-linux": "nsenter",
}
_POLICY = Path("/usr/sbin/policy-rc.d")


def missing_packages() -> list[str]:
    """Names of the packages whose command is not on this host."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name, command in PACKAGES.items() if shutil.which(command, path=path) is None]


def install_missing() -> int:
    """Install what is missing, as root on Debian; otherwise say what to do. Returns an exit code."""
    missing = missing_packages()
    if not missing:
        return 0
    line = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        print(f"Real machines need: {', '.join(missing)}. Install with: sudo {line}", file=sys.stderr)
        return 0
    if shutil.which("apt-get") is None:
        print(f"This host has no apt-get; real machines need: {', '.join(missing)}", file=sys.stderr)
        return 1
    print(f"Installing on this host: {', '.join(missing)}", flush=True)
    with _no_service_starts():
        for command in (["apt-get", "update", "-qq"], [*line.split(), "-y", "-qq"]):
            done = subprocess.run(
                command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False
            )
            if done.returncode != 0:
                print(f"'{' '.join(command)}' failed (exit code {done.returncode})", file=sys.stderr)
                return 1
    return 0


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Debian starts a package's service on installation; ours are started by the sandbox only."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
