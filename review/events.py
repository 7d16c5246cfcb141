"""Reads the engine's own account of a preview: its event log, a JSON document a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

# Of the several steps of a replacement, `replace` is among the operations and stands for all.
from review.report import OPERATIONS, Change

_STACK: Final = "pulumi:pulumi:Stack"


def decode(log: str) -> list[dict[str, Any]]:
    """The events of a log; a last line that was cut off is left out."""
    found = []
    for line in log.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def changes(events: Iterable[Mapping[str, Any]]) -> tuple[Change, ...]:
    """What would be done, in the engine's order."""
    steps = (event["resourcePreEvent"]["metadata"] for event in events if "resourcePreEvent" in event)
    return tuple(_change(step) for step in steps if step["op"] in OPERATIONS and step["type"] != _STACK)


def unchanged(events: Iterable[Mapping[str, Any]]) -> int:
    """How many resources stay as they are, as the engine's own summary counts them."""
    counts = [
        event["summaryEvent"].get("resourceChanges") or {} for event in events if "summaryEvent" in event
    ]
    return int(counts[-1].get("same", 0)) if counts else 0


def _change(step: Mapping[str, Any]) -> Change:
    # `keys` are those that force a replacement, `diffs` all that differ.
    reasons = step.get("keys") or step.get("diffs") or []
    wanted = reasons if step["op"] in {"replace", "update"} else []
    return Change(step["op"], step["type"], step["urn"].rpartition("::")[2], tuple(sorted(set(wanted))))


def readable(diff: str) -> str:
    """What `pulumi preview --diff` prints with resources by their names alone, without where each provider is."""
    kept = (line for line in diff.splitlines() if not line.lstrip().startswith("[provider="))
    return "\n".join(re.sub(r"\[urn=\S+::(\S+)\]$", r"[\1]", line) for line in kept)


def errors(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """The error messages, in order, each once."""
    found = [event["diagnosticEvent"] for event in events if "diagnosticEvent" in event]
    messages = [str(item["message"]).strip() for item in found if item.get("severity") == "error"]
    return list(dict.fromkeys(message for message in messages if message))
