"""Ask this host's apt: which mirrors, which proxy, which checks; and whether a mirror has a release."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from sandbox.machines.apt_sources import AptSource, archive_origin, for_release, read_sources
from sandbox.machines.port import MachineError

_ETC_APT = Path("/etc/apt")
_TIMEOUT_SECONDS = 20
# Enough of an InRelease file to hold its header.
_HEADER_BYTES = 4096
# Settings a build in a chroot takes over from the host.
_CARRIED = re.compile(r"^Acquire::((https?|ftp)::|Check-(Valid-Until|Date)|Retries|ForceIPv4)", re.IGNORECASE)


def sources_for(suite: str) -> tuple[AptSource, ...]:
    """The host's Debian mirrors, turned to another release; raises MachineError when it has none."""
    own = (platform.freedesktop_os_release().get("VERSION_CODENAME", ""), "stable", "oldstable", "testing")
    turned = for_release(read_sources(_ETC_APT), [name for name in own if name], suite)
    if not any(source.suite == suite for source in turned):
        raise MachineError(
            f"no Debian mirror for {suite}: {_ETC_APT} names none for this host's release ({own[0] or 'unknown'}) with "
            "component main over http(s); add one to build images here"
        )
    return tuple(sorted(turned, key=lambda source: source.suite != suite))


def served(sources: tuple[AptSource, ...], progress: Callable[[str], None]) -> tuple[AptSource, ...]:
    """Those that really are Debian archives with that suite; the release itself must be among them.

    Raises MachineError naming the address that failed.
    """
    kept, reasons = [], []
    for source in sources:
        reason = _refusal(source)
        if reason is None:
            kept.append(source)
        else:
            reasons.append(reason)
            progress(f"Leaving out a package source: {reason}")
    if not kept or "-" in kept[0].suite:
        raise MachineError("no usable Debian mirror: " + "; ".join(reasons))
    return tuple(kept)


def _refusal(source: AptSource) -> str | None:
    address = f"{source.uri}/dists/{source.suite}/InRelease"
    try:
        with _opener().open(address, timeout=_TIMEOUT_SECONDS) as answer:
            origin = archive_origin(answer.read(_HEADER_BYTES).decode(errors="replace"))
    except (urllib.error.URLError, OSError) as error:
        return f"{address}: {error}"
    return None if origin == "Debian" else f"{address}: its origin is {origin!r}, not 'Debian'"


def _opener() -> urllib.request.OpenerDirector:
    proxies = {name.removesuffix("_proxy"): value for name, value in proxy_environment().items()}
    # None lets the environment's own proxy variables count, as they do for apt.
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies or None))


def proxy_environment() -> dict[str, str]:
    """The proxies apt is set to, as the variables that download tools read."""
    found = {}
    for scheme in ("http", "https"):
        value = _setting(f"Acquire::{scheme}::Proxy")
        if value and value != "DIRECT":
            found[f"{scheme}_proxy"] = value
    return found


def build_settings() -> str:
    """apt.conf text for the build: the host's transport settings, and no translations."""
    lines = [line for line in _dump() if _CARRIED.match(line)]
    if Path("/etc/ssl/certs/ca-certificates.crt").is_file():
        lines.append('Acquire::https::CaInfo "/build-ca.crt";')
    lines.extend(('Acquire::Languages "none";', 'Acquire::Retries "3";', 'APT::Sandbox::User "root";'))
    return "\n".join(lines) + "\n"


def _setting(name: str) -> str | None:
    for line in _dump():
        key, _, value = line.partition(" ")
        if key.lower() == name.lower():
            return value.strip('";') or None
    return None


def _dump() -> list[str]:
    tool = shutil.which("apt-config")
    if tool is None:
        raise MachineError("apt-config is not on PATH: images are built on Debian or its like")
    return subprocess.run([tool, "dump"], check=True, capture_output=True, text=True).stdout.splitlines()
