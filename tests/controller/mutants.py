"""Decisions with one bug planted in their source: what a test of controllers is worth is which of them it finds."""

from __future__ import annotations

import importlib
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from tests.controller.runner import Decide

PACKAGE: Final = "fleet.controller"
# In the order in which they import each other.
MODULES: Final = ("schedule", "working", "sight", "breaker", "repair", "burst", "scaling", "decide")
SOURCES: Final = Path(__file__).resolve().parents[2] / "fleet" / "controller"


@dataclass(frozen=True, slots=True)
class Bug:
    """A text in a module's source, and what a careless change made of it."""

    name: str
    module: str
    old: str
    new: str
    seed: int = 0
    """Of a day on which it showed; the days are searched when it does not any more."""


BUGS: Final = (
    Bug(
        "unknown is empty",
        "sight",
        "droplets, records = p.seen.droplets, p.seen.records",
        "droplets, records = p.seen.droplets or (), p.seen.records or ()",
        0,
    ),
    Bug("no doubt about short lists", "sight", "if len(missing) > 1:", "if len(missing) > 99:", 27),
    Bug("no breaker", "breaker", "if bad < 2 or", "if bad < 99 or", 0),
    Bug("one sight is enough", "repair", "if reached:\n", "if False:\n", 3),
    Bug(
        "several repairs at once", "repair", "return p.age - track.step_at < CYCLE_SECONDS", "return False", 5
    ),
    Bug("the last record is taken out", "repair", "if not sight.good(member.slot):", "if False:", 0),
    Bug(
        "no limit of rebuilds",
        "working",
        "return not recent and len(self.destroyed) < DESTROYS_A_DAY",
        "return True",
        4,
    ),
    Bug("no drain", "burst", "elif track.drained:", "elif True:", 0),
    Bug("no intent", "burst", "p.intend(Intent(slot, request, p.age))", "pass", 11),
    Bug(
        "a lost answer is a failure",
        "burst",
        "replace(intent, asked=p.age, tries=intent.tries + 1)",
        "replace(intent, request=f'{intent.tries:07x}', asked=p.age, tries=intent.tries + 1)",
        7,
    ),
    Bug(
        "the switch is ignored",
        "working",
        "return switch is not None and",
        "return False and switch is not None and",
        1,
    ),
    Bug(
        "unreadable orders hold nothing",
        "working",
        "if orders is None:\n            return True",
        "if orders is None:\n            return False",
        15,
    ),
    Bug(
        "visitors before the gate",
        "burst",
        "elif not track.prepared:\n        p.act(prepare)",
        "elif False:\n        p.act(prepare)",
        0,
    ),
    Bug(
        "anybody's droplets",
        "sight",
        "if droplet.slot is None or not tags <= droplet.tags:",
        "if droplet.slot is None:",
        2,
    ),
    Bug("never back into the rotation", "repair", "p.act(Restore(member.slot, member.ejected))", "pass", 12),
    Bug("records of the dead stay", "burst", "if sure and sight.good(slot):", "if False:", 7),
    Bug(
        "scale-in at once below the slots",
        "scaling",
        "surplus = strength.serving - strength.wanted",
        "surplus = strength.counted",
        18,
    ),
    Bug(
        "several things at once to a slot",
        "working",
        "if self.busy(action.slot):\n            return False",
        "if False:\n            return False",
        5,
    ),
)


def named(name: str) -> Bug:
    return next(bug for bug in BUGS if bug.name == name)


def planted(bug: Bug) -> Decide:
    """The decision with the bug in it; the real modules stay as they are."""
    names = [f"{PACKAGE}.{name}" for name in MODULES]
    real = {name: importlib.import_module(name) for name in names}
    package = importlib.import_module(PACKAGE)
    try:
        for short, name in zip(MODULES, names, strict=True):
            source = (SOURCES / f"{short}.py").read_text()
            if short == bug.module:
                if source.count(bug.old) != 1:
                    raise ValueError(
                        f"{bug.name}: {bug.old!r} is in {short}.py {source.count(bug.old)} times, not once"
                    )
                source = source.replace(bug.old, bug.new)
            module = types.ModuleType(name)
            sys.modules[name] = module
            setattr(package, short, module)
            exec(compile(source, f"{short}.py with: {bug.name}", "exec"), module.__dict__)  # noqa: S102
        return cast(Decide, sys.modules[f"{PACKAGE}.decide"].__dict__["decide"])
    finally:
        for short, name in zip(MODULES, names, strict=True):
            sys.modules[name] = real[name]
            setattr(package, short, real[name])
