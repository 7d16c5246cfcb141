"""How each web member of a stack stands, as the cloud, the edge and the member itself tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet import ssh, watch
from fleet.canary import CLOSED_STATES, Status, Traffic, shown
from fleet.cloudflare import Cloudflare
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.members import Machine

AT_ONCE: Final = 32
ASK_SECONDS: Final = 15.0
UNREACHABLE: Final = "unreachable"
UNKNOWN: Final = "unknown"  # it answers, but cannot say how its fence stands


@dataclass(frozen=True, slots=True)
class Row:
    """One droplet of the tier."""

    machine: Machine
    in_rotation: bool
    """Whether the edge is told its address."""
    fence: str
    """open, closed, held or leaving, as the member says; or UNREACHABLE or UNKNOWN."""
    reason: str
    status: Status | None

    @property
    def serving(self) -> bool:
        """Whether visitors come to it and are let in."""
        return self.in_rotation and self.fence not in {*CLOSED_STATES, UNREACHABLE}

    @property
    def p99(self) -> float | None:
        """Seconds that 99 % of its visits since its watcher's start did not exceed; None without visits."""
        if self.status is None:
            return None
        return Traffic(bounds=self.status.bounds, counts=self.status.counts).quantile(0.99)

    def as_json(self) -> dict[str, Any]:
        machine, status = self.machine, self.status
        return {
            "slot": machine.slot,
            "droplet": machine.name,
            "id": machine.id,
            "address": machine.address,
            "image": machine.image,
            "in_rotation": self.in_rotation,
            "fence": self.fence,
            "reason": self.reason,
            "requests": status.requests if status else None,
            "errors": status.errors if status else None,
            "recent": {"requests": status.recent_requests, "errors": status.recent_errors}
            if status
            else None,
            "p99_seconds": self.p99 if self.p99 != float("inf") else None,
        }


HEADINGS: Final = ("SLOT", "DROPLET", "ADDRESS", "IMAGE", "ROTATION", "FENCE", "RECENT", "P99")


def lines(rows: Sequence[Row]) -> list[str]:
    """A table for people; RECENT are the visits of the last two seconds."""
    table = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(HEADINGS))]
    reasons = ["", *(f"  {row.reason}" if row.reason else "" for row in rows)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() + reason
        for cells, reason in zip(table, reasons, strict=True)
    ]


def _cells(row: Row) -> tuple[str, ...]:
    status = row.status
    return (
        row.machine.slot,
        row.machine.name,
        row.machine.address,
        row.machine.image,
        "in" if row.in_rotation else "out",
        row.fence,
        f"{status.recent_requests} visits, {status.recent_errors} errors" if status else "-",
        shown(row.p99) if row.p99 is not None else "-",
    )


async def gather(machines: Sequence[Machine], identity: Identity, rotation: frozenset[str]) -> list[Row]:
    """Ask all members at once, in the order of their slots. A member that does not answer is told as such."""
    limit = asyncio.Semaphore(AT_ONCE)
    rows = await asyncio.gather(*(_ask(machine, identity, rotation, limit) for machine in machines))
    return sorted(rows, key=lambda row: (row.machine.number or len(rows) + 1, row.machine.created))


async def _ask(
    machine: Machine, identity: Identity, rotation: frozenset[str], limit: asyncio.Semaphore
) -> Row:
    inside = machine.address in rotation
    try:
        async with limit, asyncio.timeout(ASK_SECONDS), ssh.session(machine.target(identity)) as connection:
            status = await watch.ask(connection)
    except watch.StatusError as error:
        return Row(machine, inside, UNKNOWN, str(error), None)
    except (FleetError, TimeoutError) as error:
        return Row(machine, inside, UNREACHABLE, str(error) or f"no answer within {ASK_SECONDS:.0f} s", None)
    return Row(machine, inside, status.state, status.reason, status)


async def command(machines: Sequence[Machine], identity: Identity, line: str) -> dict[Machine, str]:
    """Run a command of the fence on all of them; what each said. Raises FleetError, after all were told, when one
    could not be reached or refused."""

    said = await asyncio.gather(*(_run(machine, identity, line) for machine in machines))
    if failed := [str(outcome) for outcome in said if isinstance(outcome, FleetError)]:
        raise FleetError("\n".join(failed))
    return {machine: str(outcome) for machine, outcome in zip(machines, said, strict=True)}


async def _run(machine: Machine, identity: Identity, line: str) -> str | FleetError:
    try:
        async with asyncio.timeout(ASK_SECONDS), ssh.session(machine.target(identity)) as connection:
            done = await ssh.run(connection, line)
    except (FleetError, TimeoutError) as error:
        return FleetError(f"{machine}: {str(error) or f'no answer within {ASK_SECONDS:.0f} s'}")
    said = done.output.strip()
    return (
        said
        if done.exit_code == 0
        else FleetError(f"{machine}: `{line}` ended with {done.exit_code}: {said[-300:]}")
    )


def rotation(
    config: Mapping[str, Any], project: str, cloud: DigitalOcean, edge: Callable[[], Cloudflare]
) -> frozenset[str]:
    """The IPv4 addresses that a stack's domain leads to. `edge` is only asked for where there is one."""
    domain = str(config.get(f"{project}:domain"))
    section = config.get(f"{project}:edge") or {}
    kind, zone = section.get("kind"), section.get("zone")
    if kind == "cloudflare":
        account = edge()
        zones = [found["id"] for found in account.every("/zones", name=str(zone))]
        if not zones:
            raise FleetError(f"the Cloudflare account has no zone {zone}, which {project}:edge.zone names")
        records = account.every(f"/zones/{zones[0]}/dns_records", type="A", name=domain)
        return frozenset(str(record["content"]) for record in records)
    if kind != "none":
        raise FleetError(f"{project}:edge.kind is {kind!r}; give cloudflare or none")
    # Without a zone of its own the domain is the zone, and the cloud's DNS tells names without their zone.
    zone = str(zone or domain)
    own = domain.removesuffix(zone).removesuffix(".") or "@"
    rows = cloud.every(f"/v2/domains/{zone}/records", "domain_records")
    return frozenset(str(row["data"]) for row in rows if (row["type"], row["name"]) == ("A", own))
