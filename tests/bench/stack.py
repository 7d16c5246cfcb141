"""The dev stack on real machines: from `make up` to the page, the update that changes nothing, sizes."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

from tests.bench.bed import Bed
from tests.bench.table import Row

WARM_SECONDS, NO_OP_SECONDS, MACHINE_MB = 90, 8, 120
RUNS = 3
_SIZE = "s-1vcpu-1gb"
_BOOTED = "Reached target cloud-init.target"


def measure(bed: Bed) -> Iterator[Row]:
    project = bed.clone()
    bed.run("fleet", "init", "dev", directory=project)
    baked = bed.run("fleet", "bake", "web", "database", "-s", "dev", "--missing", directory=project)
    yield Row("bake of both images", f"{baked:.0f} s")
    first = _up(bed, project)
    yield Row("`pulumi up` of a new stack on baked images", f"{first:.1f} s")
    no_op = statistics.median(_up(bed, project) for _ in range(RUNS))
    yield Row(
        "`pulumi up` that changes nothing",
        f"{no_op:.1f} s",
        f"under {NO_OP_SECONDS} s",
        met=no_op < NO_OP_SECONDS,
    )
    yield from _memory(bed)
    yield from _boot(bed, project)
    yield from _warm(bed, project)


def _up(bed: Bed, project: Path) -> float:
    return bed.run("pulumi", "up", "-s", "dev", "--yes", directory=project)


def _warm(bed: Bed, project: Path) -> Iterator[Row]:
    """What `make up` does when the images and the engine are there: a sandbox that is down, a stack that is gone."""
    bed.run("pulumi", "destroy", "-s", "dev", "--yes", directory=project)
    bed.run(sys.executable, "-m", "sandbox", "down")
    started = time.monotonic()
    bed.run("scripts/up", "dev", directory=project)
    warm = time.monotonic() - started
    yield Row(
        "warm `make up` to the page through the edge",
        f"{warm:.1f} s",
        f"under {WARM_SECONDS} s",
        met=warm < WARM_SECONDS,
    )


def _memory(bed: Bed) -> Iterator[Row]:
    status = bed.status()
    for droplet in status["droplets"]:
        used = status["machine_memory_bytes"][str(droplet["id"])] / 1e6
        yield Row(
            f"memory of {droplet['name'].rsplit('-', 1)[0]}",
            f"{used:.0f} MB",
            f"under {MACHINE_MB} MB",
            met=used < MACHINE_MB,
        )
    yield Row("memory of the sandbox itself", f"{status['memory_bytes'] / 1e6:.0f} MB")


def _boot(bed: Bed, project: Path) -> Iterator[Row]:
    """From the request to the gate passed, against a bare droplet of the same image to cloud-init's end."""
    pairs = [(_gated(bed, project), _bare(bed, project)) for _ in range(RUNS)]
    gated = statistics.median(pair[0] for pair in pairs)
    bare = statistics.median(pair[1] for pair in pairs)
    ratio = statistics.median(a / b for a, b in pairs)
    yield Row("boot to gate passed, over the bare boot", f"{gated:.1f} s / {bare:.1f} s = {ratio:.2f}")


def _gated(bed: Bed, project: Path) -> float:
    """Grow by one member: from the line that begins its droplet to the line that its gate passed."""
    bed.run("pulumi", "config", "set", "-s", "dev", "--path", "flotilla:web.count", "2", directory=project)
    seen: dict[str, float] = {}
    for line in bed.lines("pulumi", "up", "-s", "dev", "--yes", "--skip-preview", directory=project):
        for moment in ("Droplet web-2 creating", "Command web-2-gate created"):
            if moment in line:
                seen.setdefault(moment, time.monotonic())
    bed.run("pulumi", "config", "set", "-s", "dev", "--path", "flotilla:web.count", "1", directory=project)
    _up(bed, project)
    begun, passed = seen.values()
    return passed - begun


def _bare(bed: Bed, project: Path) -> float:
    """A droplet of the web image that is told nothing, until its console says that cloud-init is done."""
    images = json.loads(bed.read("fleet", "images", "-s", "dev", "--json", directory=project))
    number = next(entry["id"] for entry in images if entry["role"] == "web")
    started = time.monotonic()
    droplet = _api(bed, "POST", "/v2/droplets", _order(number))["droplet"]["id"]
    try:
        console = bed.home / "machines" / str(droplet) / "console.log"
        bed.run("sh", "-c", f"tail -n +1 -F {console} 2>/dev/null | grep -q -m 1 '{_BOOTED}'")
        return time.monotonic() - started
    finally:
        _api(bed, "DELETE", f"/v2/droplets/{droplet}")


def _order(image: int) -> dict[str, Any]:
    return {"name": "bare", "region": "lon1", "size": _SIZE, "image": image, "user_data": "#cloud-config\n"}


def _api(bed: Bed, method: str, path: str, body: Any = None) -> Any:
    answer = urllib3.request(
        method,
        f"{bed.environment['DIGITALOCEAN_API_URL']}{path}",
        json=body,
        headers={"Authorization": f"Bearer {bed.environment['DIGITALOCEAN_TOKEN']}"},
        timeout=30,
    )
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {answer.data.decode()}")
    return answer.json() if answer.data else None
