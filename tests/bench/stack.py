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
    """Grow by one member and read from the engine's events when its droplet was begun and its gate done."""
    bed.run("pulumi", "config", "set", "-s", "dev", "--path", "flotilla:web.count", "2", directory=project)
    log = project / "events.json"
    log.unlink(missing_ok=True)
    bed.run(
        *("pulumi", "up", "-s", "dev", "--yes", "--skip-preview", "--event-log", str(log)), directory=project
    )
    events: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    begun = _moment(events, "resourcePreEvent", "::web-2")
    passed = _moment(events, "resOutputsEvent", "::web-2-gate")
    bed.run("pulumi", "config", "set", "-s", "dev", "--path", "flotilla:web.count", "1", directory=project)
    _up(bed, project)
    return passed - begun


def _moment(events: list[dict[str, Any]], kind: str, ending: str) -> float:
    return next(
        float(event["timestamp"])
        for event in events
        if kind in event and event[kind]["metadata"]["urn"].endswith(ending)
    )


def _bare(bed: Bed, project: Path) -> float:
    """A droplet of the web image with nothing but an SSH key, until cloud-init is done."""
    key = project / "bare-key"
    if not key.exists():
        bed.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key), directory=project)
    image = json.loads(bed.read("fleet", "images", "-s", "dev", "--json", directory=project))
    number = next(entry["id"] for entry in image if entry["role"] == "web")
    user_data = f"#cloud-config\nssh_authorized_keys: [{key.with_suffix('.pub').read_text().strip()}]\ndisable_root: false\n"
    started = time.monotonic()
    droplet = _api(bed, "POST", "/v2/droplets", _order(number, user_data))["droplet"]["id"]
    try:
        address = _await_address(bed, droplet)
        bed.run(
            *("ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "ConnectionAttempts=120", "-o", "ConnectTimeout=1", f"root@{address}"),
            "cloud-init status --wait",
            directory=project,
        )
        return time.monotonic() - started
    finally:
        _api(bed, "DELETE", f"/v2/droplets/{droplet}")


def _order(image: int, user_data: str) -> dict[str, Any]:
    return {"name": "bare", "region": "lon1", "size": _SIZE, "image": image, "user_data": user_data}


def _await_address(bed: Bed, droplet: int) -> str:
    """Poll, as every client of this API must, until the droplet is active; bounded by the API's own speed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = _api(bed, "GET", f"/v2/droplets/{droplet}")["droplet"]
        if found["status"] == "active":
            return next(str(n["ip_address"]) for n in found["networks"]["v4"] if n["type"] == "public")
    raise RuntimeError(f"droplet {droplet} is not active after 60 s")


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
