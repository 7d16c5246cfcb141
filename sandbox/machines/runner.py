"""The small process that keeps a machine running, whatever becomes of the daemon: what it is and how to find it."""

from __future__ import annotations

from pathlib import Path

from sandbox import processes

SCRIPT = Path(__file__).with_name("runner.sh")
_PROGRAMS = {SCRIPT.name, "systemd-nspawn"}
# A shell or a wrapper and its options stand before the program.
_FIRST_WORDS = 4


def runners(home: Path) -> frozenset[int]:
    """Processes of machines of that sandbox, found by their environment when every file about them is gone."""
    return frozenset(pid for pid in processes.of_sandbox(home) if _runs_machine(processes.command_line(pid)))


def _runs_machine(command: tuple[str, ...]) -> bool:
    return any(Path(word).name in _PROGRAMS for word in command[:_FIRST_WORDS])
