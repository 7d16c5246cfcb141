"""Bugs planted in the decisions must show in the simulated world, or passing it would prove nothing."""

from __future__ import annotations

import pytest

from tests.controller.mutants import BUGS, Bug, planted
from tests.controller.storm import play

SEEDS = 40


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    wrong = planted(bug)
    assert any(play(seed, wrong) for seed in (bug.seed, *range(SEEDS))), (
        f"{bug.old!r} may as well be {bug.new!r}"
    )


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 15
