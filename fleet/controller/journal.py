"""The decision log: one JSON object a line, each with the time and why.

Told are actions when they start and end, and reasons when they come and go; a reason that stays is said once. So the
log of a quiet week is short, and every line is news.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fleet.controller.codec import encode
from fleet.controller.model import Action, Decision, Observation, Outcome, Reason, Record

LONGEST_BYTES: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `kind` is start, end, failed, reason or over."""

    at: float
    """Unix seconds."""
    kind: str
    about: str
    text: str

    def render(self) -> str:
        told = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return json.dumps({"at": told, "kind": self.kind, "about": self.about, "text": self.text})


def news(observation: Observation, decision: Decision, before: Collection[Reason]) -> list[Line]:
    """What a pass has to tell, `before` being the reasons of the pass before."""
    at = observation.clock.wall
    return [
        *(_ended(at, outcome) for outcome in observation.outcomes),
        *(Line(at, "over", gone.about, gone.text) for gone in before if gone not in decision.reasons),
        *(Line(at, "reason", new.about, new.text) for new in decision.reasons if new not in before),
        *(Line(at, "start", action.slot, told(action)) for action in decision.actions),
    ]


def told(action: Action) -> str:
    """An action in one line; a payload or a secret is in none."""
    rest = [
        f"{each.name}={_shown(getattr(action, each.name))}" for each in fields(action) if each.name != "slot"
    ]
    return " ".join([type(action).__name__.lower(), action.slot, *rest])


def append(path: Path, lines: Sequence[Line]) -> None:
    """Raises OSError. A log that has grown long becomes `<name>.1`, and a new one is begun."""
    if not lines:
        return
    if path.exists() and path.stat().st_size > LONGEST_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    with path.open("a") as file:
        file.write("".join(f"{line.render()}\n" for line in lines))


def tail(path: Path, count: int) -> Iterator[dict[str, Any]]:
    """The last lines, oldest first; a line that a crash cut short is left out."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    for line in text.splitlines()[-count:]:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _ended(at: float, outcome: Outcome) -> Line:
    text = told(outcome.action)
    if outcome.error is None:
        return Line(at, "end", outcome.action.slot, text)
    return Line(at, "failed", outcome.action.slot, f"{text}: {outcome.error}")


def _shown(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], Record):
        return ",".join(f"{record.id}->{record.content}" for record in value)
    found = encode(value)
    return ",".join(found) if isinstance(found, list) else str(found)
