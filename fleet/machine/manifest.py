"""flotilla-manifest: what an image holds, written when it is baked and compared by the gate of each member."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Final

from fleet.machine import places
from fleet.machine.host import Host, MachineError

OWN_FILES: Final = ("/usr/local/lib/flotilla", "/opt/flotilla")
RELEASE_KEY: Final = "FLOTILLA_RELEASE"


def packages(host: Host) -> list[str]:
    """Every installed package with its version, sorted."""
    listed = host.must(
        "dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}:${Architecture} ${Version}\\n"
    )
    return sorted(line.split(maxsplit=1)[1] for line in listed.splitlines() if line.startswith("ii "))


def release(host: Host) -> str:
    """Name of the app release on this machine, empty when there is none."""
    for line in (host.read(places.RELEASE) or "").splitlines():
        name, _, value = line.partition("=")
        if name == RELEASE_KEY:
            return value
    return ""


def files_digest(host: Host) -> str:
    """The machine's programs and the app, as they lie on disk."""
    total = hashlib.sha256()
    for top in OWN_FILES:
        for path in sorted(host.path(top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                content = path.read_bytes()
                total.update(f"{path.relative_to(host.root)}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def observe(host: Host) -> dict[str, str]:
    """The manifest as it would be written now. `digest` covers the rest."""
    content = {
        "packages": hashlib.sha256("\n".join(packages(host)).encode()).hexdigest(),
        "files": files_digest(host),
        "release": release(host),
    }
    return {**content, "digest": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def read(host: Host) -> dict[str, str]:
    """The manifest that was baked in."""
    text = host.read(places.MANIFEST)
    if text is None:
        raise MachineError(f"{places.MANIFEST} is missing; the image was not baked to its end")
    try:
        manifest = json.loads(text)
        return {key: str(manifest[key]) for key in ("packages", "files", "release", "digest")}
    except (ValueError, KeyError, TypeError) as error:
        raise MachineError(f"{places.MANIFEST} cannot be read: {error!r}") from error


def main() -> int:
    host = Host()
    try:
        manifest = observe(host)
        host.write(places.MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n", 0o644)
    except (MachineError, OSError) as error:
        print(f"flotilla-manifest: {error}", file=sys.stderr)
        return 1
    print(json.dumps(manifest, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
