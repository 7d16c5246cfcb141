"""flotilla-gate: is this machine fit for visitors? One line per check, the whole result in places.GATE."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from fleet.config import ConfigError, MachineConfig, Settings
from fleet.machine import manifest, places, units
from fleet.machine.checks import BrokenError, Check, checks_for
from fleet.machine.description import load_machine
from fleet.machine.host import Clock, Host, MachineError, until


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended. `seconds` is the time until it did."""

    name: str
    ok: bool
    seconds: float
    reason: str = ""
    log: tuple[str, ...] = ()


def judge(host: Host, clock: Clock, checks: Sequence[Check], patience: float = float("inf")) -> list[Outcome]:
    """Ask every check, waiting for each as long as it may take, and no longer than `patience` seconds; after a
    failure nothing is waited for any more."""
    outcomes: list[Outcome] = []
    explained: set[str] = set()
    for check in checks:
        outcome = _ask(clock, check, min(check.seconds, patience))
        if not outcome.ok:
            patience = 0
            silent = [unit for unit in check.units() if unit not in explained]
            explained.update(silent)
            outcome = replace(outcome, log=units.log(host, silent) if silent else ())
        outcomes.append(outcome)
    return outcomes


def _ask(clock: Clock, check: Check, patience: float) -> Outcome:
    started = clock.now()
    reason: str | None = None

    def passed() -> bool | None:
        nonlocal reason
        try:
            reason = check.ask()
        except BrokenError as error:
            reason = str(error)
            return False
        except (MachineError, OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        return True if reason is None else None

    ok = until(passed, timeout=patience, clock=clock, interval=0.5) is True
    return Outcome(check.name, ok, round(clock.now() - started, 2), "" if ok else reason or "")


def report(machine: MachineConfig, release: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The result as JSON."""
    return {
        "slot": machine.slot,
        "role": machine.role,
        "release": release,
        "ok": all(outcome.ok for outcome in outcomes),
        "checks": [asdict(outcome) for outcome in outcomes],
    }


def lines(outcomes: Sequence[Outcome]) -> list[str]:
    """The result for people: a line per check, and the log below a failed one."""
    text = []
    for outcome in outcomes:
        mark = "pass" if outcome.ok else "FAIL"
        text.append(
            f"{mark} {outcome.name} ({outcome.seconds:.1f} s)"
            + (f": {outcome.reason}" if outcome.reason else "")
        )
        text.extend(f"     | {line}" for line in outcome.log)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(prog="flotilla-gate", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--patience", type=float, default=float("inf"), metavar="SECONDS", help="wait no longer for any check"
    )
    arguments = parser.parse_args()
    host = Host()
    try:
        machine = load_machine(host)
        received = host.read(places.SETTINGS)
        if received is None:
            raise MachineError(f"{places.SETTINGS} is missing: no bundle was received yet")
        clock = Clock()
        checks = checks_for(host, clock, machine, Settings.from_json(received))
        outcomes = judge(host, clock, checks, arguments.patience)
    except (ConfigError, MachineError, OSError) as error:
        print(f"FAIL gate: {error}", file=sys.stderr)
        return 1
    result = report(machine, manifest.release(host), outcomes)
    document = json.dumps(result, indent=1) + "\n"
    host.write(places.GATE, document, 0o644)
    print(document if arguments.json else "\n".join(lines(outcomes)))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
