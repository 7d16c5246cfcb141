"""systemd units of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.machine.host import Host, MachineError

LOG_LINES = 15


def active(host: Host, unit: str) -> bool:
    return host.run("systemctl", "is-active", "--quiet", unit).code == 0


def act(host: Host, verb: str, unit: str, *, timeout: float = 60) -> None:
    """Start, restart or reload a unit; when that fails, the error has the last lines of its log."""
    result = host.run("systemctl", verb, unit, timeout=timeout)
    if result.code:
        said = "\n".join(f"  | {line}" for line in log(host, [unit]))
        raise MachineError(f"`systemctl {verb} {unit}` failed: {result.error.strip()[:300]}\n{said}")


def follow(host: Host, names: Sequence[str], *, wanted: bool, changed: bool) -> list[str]:
    """Make units run when they are `wanted`, anew when what they go by has `changed`; returns in words what was done."""
    done = []
    for unit in names:
        running = active(host, unit)
        if running == wanted and not (running and changed):
            continue
        verb, said = (
            (("restart", "restarted") if running else ("start", "started")) if wanted else ("stop", "stopped")
        )
        act(host, verb, unit)
        done.append(f"{unit} {said}")
    return done


def log(host: Host, units: Sequence[str]) -> tuple[str, ...]:
    """The last lines that these units logged since the machine booted."""
    chosen = [option for unit in units for option in ("--unit", unit)]
    said = host.run("journalctl", "--no-pager", "--boot", f"--lines={LOG_LINES}", "--output=short", *chosen)
    return tuple(said.output.splitlines())
