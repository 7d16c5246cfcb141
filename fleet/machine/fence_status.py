"""What a member tells its peers and its operators of its fence: one small file, always whole, always fresh."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from fleet.machine import places
from fleet.machine.asking import Reply
from fleet.machine.fence import Count, Memory, Peer, State, Trouble
from fleet.machine.host import Host
from fleet.machine.visits import BOUNDS, Tally

# The file is written several times a second; an older one tells that its writer is gone.
FRESH_SECONDS: Final = 5.0
PORT: Final = 8101
PATH: Final = "/status"
READY_PATH: Final = "/ready"
_HTTP_DATE: Final = "%a, %d %b %Y %H:%M:%S GMT"


@dataclass(frozen=True, slots=True)
class Standing:
    """A member as it stands."""

    slot: str
    memory: Memory
    since: float  # wall clock, when the state began
    leaving: bool


def render(standing: Standing, tally: Tally, cpu: float | None, now: float) -> dict[str, Any]:
    """The document. `latency.counts` has a number for each bound and one for what is slower; like `requests` and
    `errors` they count up since the watcher's start, so that two readings give what was between them. `cpu` is the
    share of the processors' time that was used in the last seconds, None while that is not known."""
    memory, recent = standing.memory, tally.recent(now)
    state = memory.state.value
    if memory.state is State.OPEN and standing.leaving:
        state = "leaving"
    return {
        "slot": standing.slot,
        "state": state,
        "reason": memory.reason,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(standing.since)),
        "trouble": memory.trouble.value,
        "closing": memory.closing,
        "requests": tally.total.requests,
        "errors": tally.total.errors,
        "latency": {"bounds": BOUNDS, "counts": tally.latency},
        "recent": {"requests": recent.requests, "errors": recent.errors},
        "cpu": None if cpu is None else round(cpu, 3),
    }


def publish(host: Host, document: dict[str, Any]) -> None:
    """Replace the file. It lies in memory and is worth nothing after a crash, so nothing is synced."""
    path = host.path(places.FENCE_STATUS)
    temporary = path.with_name(".status.new")
    temporary.write_text(json.dumps(document) + "\n")
    temporary.chmod(0o644)
    temporary.replace(path)


def read(host: Host, wall: float) -> dict[str, Any] | None:
    """This machine's own document, or None when no watcher keeps it fresh."""
    try:
        age = wall - host.path(places.FENCE_STATUS).stat().st_mtime
        document = json.loads(host.path(places.FENCE_STATUS).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return document if age <= FRESH_SECONDS and isinstance(document, dict) else None


def peer_of(status: Reply, ready: Reply | None) -> Peer | None:
    """What a peer's answers mean; None when it cannot be reached, or nobody watches it."""
    if status.status != 200 or not _fresh(status):
        return None
    try:
        document = json.loads(status.body)
        return Peer(
            closed=document["state"] in (State.CLOSED.value, State.HELD.value),
            closing=document["closing"] is True,
            trouble=Trouble(document["trouble"]),
            ready=ready is None or ready.status == 200,
            visits=Count(int(document["requests"]), int(document["errors"])),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _fresh(reply: Reply) -> bool:
    """By the peer's own clock: when it answered, and when the file was written."""
    headers = reply.headers or {}
    try:
        told = time.mktime(time.strptime(headers["date"], _HTTP_DATE))
        written = time.mktime(time.strptime(headers["last-modified"], _HTTP_DATE))
    except (KeyError, ValueError):
        return False
    return told - written <= FRESH_SECONDS
