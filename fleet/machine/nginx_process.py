"""nginx as it runs: a reload is over when workers with the new configuration have taken the old ones' place."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from typing import Final

from fleet.machine import units
from fleet.machine.host import Clock, Host, MachineError, until
from fleet.machine.lame_duck import lame_duck
from fleet.machine.sockets import connections

UNIT: Final = "nginx.service"
RELOAD_SECONDS: Final = 30.0
# nginx before 1.27.4 cuts idle connections in a reload, and a request may be on its way on one of them. So kept
# connections get this long to be ended properly first (https://nginx.org/en/CHANGES, keepalive_min_timeout).
BEFORE_RELOAD_SECONDS: Final = 10.0
STATUS_PORT: Final = 8099  # nginx's stub_status, on the loopback only
_STATUS: Final = re.compile(r"Reading: (\d+) Writing: (\d+) Waiting: (\d+)")
# What a worker calls itself; one that only finishes its requests adds "is shutting down".
_WORKER: Final = "nginx: worker process"
PID_FILE: Final = "/run/nginx.pid"
_PARENT: Final = re.compile(r"^PPid:\t(\d+)$", re.MULTILINE)


def accepting_workers(host: Host) -> frozenset[int]:
    """Processes that take new connections of visitors; peers are served by an nginx of their own, which is left out."""
    main = (host.read(PID_FILE) or "").strip()
    found = set()
    for entry in host.path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_text(errors="replace").rstrip("\0 ")
            parent = _PARENT.search((entry / "status").read_text(errors="replace"))
        except OSError:
            continue  # it has ended since it was listed
        if title == _WORKER and parent and parent[1] == main:
            found.add(int(entry.name))
    return frozenset(found)


def reload(host: Host, clock: Clock) -> None:
    """Make nginx follow its files; new connections meet the new configuration once this returns."""
    before = accepting_workers(host)
    units.act(host, "reload", UNIT)

    def replaced() -> bool | None:
        now = accepting_workers(host)
        return True if now and not now & before else None

    if until(replaced, timeout=RELOAD_SECONDS, clock=clock, interval=0.05) is None:
        raise MachineError(
            f"nginx did not take its new configuration within {RELOAD_SECONDS:g} s; see `journalctl -u {UNIT}`"
        )


def reload_gently(host: Host, clock: Clock, patience: float = BEFORE_RELOAD_SECONDS) -> None:
    """Reload, and cut no connection that a request may be on its way on.

    A lame duck ends each connection after its answer, so once none is idle none becomes idle again, however many
    visitors come. Connections that nobody uses are cut after `patience` seconds: the edge's pools hold some for
    a quarter of an hour, and its next request on one of them is refused without having been read.
    """

    def none_idle() -> bool | None:
        if connections(host, 443) == 0:
            return True
        try:
            return True if status().idle == 0 else None
        except MachineError:
            return None

    with lame_duck(host):
        until(none_idle, timeout=patience, clock=clock)
        reload(host, clock)


@dataclass(frozen=True, slots=True)
class Status:
    """nginx's connections at this moment, the one that asks left out."""

    in_flight: int  # with a request that is being read or answered
    idle: int  # kept alive


def status() -> Status:
    """What nginx counts."""
    connection = http.client.HTTPConnection("127.0.0.1", STATUS_PORT, timeout=5)
    try:
        connection.request("GET", "/")
        text = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise MachineError(f"nginx does not tell its status on port {STATUS_PORT}: {error!r}") from error
    finally:
        connection.close()
    found = _STATUS.search(text)
    if not found:
        raise MachineError(f"nginx's status cannot be read: {text[:200]!r}")
    return Status(in_flight=int(found[1]) + int(found[2]) - 1, idle=int(found[3]))
