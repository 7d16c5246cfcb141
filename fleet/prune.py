"""Which golden images may go: decided from a listing, then deleted one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.digitalocean import DigitalOcean
from fleet.image_list import Listed

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of every image."""

    delete: list[Listed]
    keep: list[tuple[Listed, str]]
    """With the reason."""

    @property
    def gigabytes(self) -> float:
        """How much less is paid for."""
        return sum(row.gigabytes for row in self.delete)


def plan(rows: Sequence[Listed], keep: int) -> Plan:
    """The newest `keep` images of each role stay, and of the others those that are in use. `rows`: newest first."""
    seen: dict[str, int] = defaultdict(int)
    delete: list[Listed] = []
    kept: list[tuple[Listed, str]] = []
    for row in rows:
        seen[row.role] += 1
        if row.used_by:
            kept.append((row, f"used by {', '.join(row.used_by)}"))
        elif seen[row.role] <= keep:
            kept.append((row, f"one of the newest {keep} of {row.role}"))
        else:
            delete.append(row)
    return Plan(delete, kept)


def carry_out(cloud: DigitalOcean, delete: Sequence[Listed], say: Say) -> None:
    """Delete them. May be cut off and run again: one that is gone already is as good as deleted."""
    for row in delete:
        cloud.delete(f"/v2/images/{row.id}")
        say(f"Deleted {row.name} ({row.gigabytes:.2f} GB)")
