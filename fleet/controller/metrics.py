"""How the fleet and the controller stand, for Prometheus and for `fleet status`.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from fleet.controller.codec import encode
from fleet.controller.loop import Pass
from fleet.controller.model import Figures, Health
from fleet.controller.orders import in_force

PORT: Final = 9464
PATH: Final = "/metrics"
STATUS: Final = "status.json"
REQUEST_SECONDS: Final = 5.0
MOST_HEAD_BYTES: Final = 8 * 1024

_HELP: Final[Mapping[str, str]] = {
    "wanted": "Members that are to serve.",
    "serving": "Members in the rotation that are well.",
    "broken": "Members that look broken.",
    "burst": "Burst members, whatever their state.",
    "coming": "Burst members that do not serve yet.",
    "leaving": "Burst members that leave.",
    "ejected": "Members whose records are out of the rotation.",
    "breaker": "1 while so many look broken that nothing is repaired.",
}


@dataclass
class Metrics:
    """Numbers of the last pass, and what was counted since the start."""

    last: Pass | None = None
    passes: int = 0
    seconds: float = 0.0
    actions: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """By kind and result."""
    complaints: int = 0

    def note(self, done: Pass) -> None:
        self.last = done
        self.passes += 1
        self.seconds += done.seconds
        self.complaints += len(done.complaints)
        for outcome in done.observation.outcomes:
            kind = type(outcome.action).__name__.lower()
            self.actions[kind, "failed" if outcome.error else "done"] += 1

    def render(self) -> str:
        """The exposition text."""
        lines = [
            *_counter("passes_total", "Passes since the controller started.", self.passes),
            *_counter("pass_seconds_total", "Seconds spent in them.", round(self.seconds, 3)),
            *_counter("complaints_total", "Lists or orders that could not be had.", self.complaints),
            *_labelled("actions_total", "Actions that ended.", ("action", "result"), self.actions),
        ]
        if self.last is not None:
            lines += _of_pass(self.last)
        return "".join(f"{line}\n" for line in lines)


def status(done: Pass, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The controller's word for people and programs: one JSON document. `warnings` are those of its start."""
    seen = done.observation
    return {
        "at": seen.clock.wall,
        "figures": encode(done.decision.figures),
        "reasons": [encode(reason) for reason in done.decision.reasons],
        "complaints": list(done.complaints),
        "warnings": list(warnings),
        "orders": encode(seen.orders),
        "under_way": [f"{type(action).__name__.lower()} {action.slot}" for action in seen.under_way],
        "held": done.decision.memory.held,
    }


def publish(path: Path, done: Pass, warnings: Sequence[str] = ()) -> None:
    """Replace the status file; it is worth nothing after a crash, so nothing is synced."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(status(done, warnings), indent=1) + "\n", encoding="utf-8")
    temporary.chmod(0o644)
    temporary.replace(path)


async def serve(metrics: Metrics, host: str, port: int) -> asyncio.Server:
    """Answer GET /metrics until the server is closed. Raises OSError when the port cannot be had."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_reply(metrics, head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port, limit=MOST_HEAD_BYTES)


def _reply(metrics: Metrics, head: bytes) -> bytes:
    asked = head.split(b" ", 2)
    if asked[:2] == [b"GET", PATH.encode()]:
        status_line, body = "200 OK", metrics.render()
    else:
        status_line, body = "404 Not Found", ""
    return (
        f"HTTP/1.1 {status_line}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


def _of_pass(last: Pass) -> Iterator[str]:
    for each in fields(Figures):
        yield from _gauge(each.name, _HELP[each.name], float(getattr(last.decision.figures, each.name)))
    seen = last.observation
    yield from _gauge("last_pass_timestamp_seconds", "When the last pass looked.", seen.clock.wall)
    yield from _gauge("droplets_known", "1 when the list of droplets is known.", seen.droplets is not None)
    yield from _gauge("records_known", "1 when the list of records is known.", seen.records is not None)
    now, orders = seen.clock.wall, seen.orders
    yield from _gauge(
        "held_create", "1 while nothing is created.", orders is None or in_force(orders.create, now)
    )
    yield from _gauge(
        "held_destroy", "1 while nothing is destroyed.", orders is None or in_force(orders.destroy, now)
    )
    yield from _gauge("actions_under_way", "Actions that run.", len(seen.under_way))
    yield from _members(last)


def _members(last: Pass) -> Iterator[str]:
    names = {member.id: member.name for member in last.observation.droplets or ()}
    told = {names[droplet]: health for droplet, health in last.observation.health.items() if droplet in names}
    yield from _labelled("member_up", "1 when the member answers.", ("member",), _values(told, "answered"))
    yield from _labelled(
        "member_ready", "1 when it can serve with all it depends on.", ("member",), _values(told, "ready")
    )
    yield from _labelled(
        "member_cpu_ratio", "Share of its processors that is busy.", ("member",), _values(told, "cpu")
    )


def _values(told: Mapping[str, Health], name: str) -> dict[tuple[str, ...], float]:
    known = {member: getattr(health, name) for member, health in sorted(told.items())}
    return {(member,): float(value) for member, value in known.items() if value is not None}


def _gauge(name: str, text: str, value: float) -> Iterable[str]:
    return (
        f"# HELP flotilla_{name} {text}",
        f"# TYPE flotilla_{name} gauge",
        f"flotilla_{name} {_number(value)}",
    )


def _counter(name: str, text: str, value: float) -> Iterable[str]:
    return (
        f"# HELP flotilla_{name} {text}",
        f"# TYPE flotilla_{name} counter",
        f"flotilla_{name} {_number(value)}",
    )


def _labelled(
    name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Iterator[str]:
    """One line for each; names of members and actions need no escaping."""
    kind = "counter" if name.endswith("_total") else "gauge"
    yield f"# HELP flotilla_{name} {text}"
    yield f"# TYPE flotilla_{name} {kind}"
    for key, value in sorted(values.items()):
        told = ",".join(f'{label}="{part}"' for label, part in zip(labels, key, strict=True))
        yield f"flotilla_{name}{{{told}}} {_number(value)}"


def _number(value: float) -> str:
    return f"{float(value):.15g}"
