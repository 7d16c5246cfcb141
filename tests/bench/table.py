"""What was measured, as a table for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its target; without a target it is only reported."""

    what: str
    figure: str
    target: str = ""
    met: bool | None = None


def markdown(rows: Iterable[Row]) -> str:
    lines = ["| what | measured | target | met |", "|---|---|---|---|"]
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "NO"
        lines.append(f"| {row.what} | {row.figure} | {row.target} | {met} |")
    return "\n".join(lines)
