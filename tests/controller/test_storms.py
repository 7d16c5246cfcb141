"""The controller through bad days: nothing forbidden is ever done, and all is well when the weather clears.

Two drivers of the same world. Hypothesis looks for the shortest way to trouble; whole days come from a seed, and
`play(seed)` shows one again.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.controller.runner import Faults
from tests.controller.storm import Storm, play, storm
from tests.controller.world import FAULTS

SEEDS = 12


@pytest.mark.parametrize("first", range(0, SEEDS, 6))
def test_bad_days_do_no_harm_and_leave_nothing_behind(first: int) -> None:
    troubles = {seed: trouble for seed in range(first, first + 6) if (trouble := play(seed))}
    assert not troubles


class Weather(RuleBasedStateMachine):
    """Every rule is one thing that goes wrong, or right; passes go on between them."""

    day: Storm

    @initialize(seed=st.integers(0, 2**16), passes=st.integers(0, 20))
    def begin(self, seed: int, passes: int) -> None:
        self.day = storm(seed)
        self.wait(passes)

    @rule(passes=st.integers(1, 40))
    def wait(self, passes: int) -> None:
        for _ in range(passes):
            self.day.step()

    @rule(which=st.integers(0, 20), fault=st.sampled_from((*FAULTS, "off", "cut", "flaky")))
    def damage(self, which: int, fault: str) -> None:
        machines = list(self.day.world.machines.values())
        self.day.damage(machines[which % len(machines)], fault)

    @rule(share=st.sampled_from((3, 2, 1)), fault=st.sampled_from(FAULTS))
    def damage_many(self, share: int, fault: str) -> None:
        for machine in list(self.day.world.machines.values())[::share]:
            self.day.damage(machine, fault)

    @rule(which=st.integers(0, 20))
    def mend(self, which: int) -> None:
        machines = list(self.day.world.machines.values())
        self.day.mend(machines[which % len(machines)])

    @rule(
        unknown=st.sampled_from((0.0, 0.3, 1.0)),
        stale=st.integers(0, 4),
        partial=st.sampled_from((0, 0, 2, 3)),
        lost=st.sampled_from((0.0, 0.5)),
        refused=st.sampled_from((0.0, 0.5, 1.0)),
        slow=st.sampled_from((0, 3, 20)),
    )
    def lie(self, unknown: float, stale: int, partial: int, lost: float, refused: float, slow: int) -> None:
        self.day.runner.faults = Faults(unknown, stale, partial, lost, refused, slow)

    @rule()
    def be_honest(self) -> None:
        self.day.be_honest()

    @rule(saved=st.booleans(), calls=st.integers(0, 3), after=st.booleans())
    def crash(self, saved: bool, calls: int, after: bool) -> None:
        self.day.runner.crash(saved=saved, calls=calls, after=after)

    @rule()
    def order(self) -> None:
        self.day.order()

    @rule()
    def load(self) -> None:
        self.day.load()

    @rule()
    def database(self) -> None:
        self.day.database()

    @rule()
    def pulumi(self) -> None:
        self.day.run_pulumi()

    @rule()
    def shake_node(self) -> None:
        self.day.shake_node()

    @rule()
    def stranger(self) -> None:
        self.day.stranger()

    @invariant()
    def nothing_forbidden_was_done(self) -> None:
        if hasattr(self, "day"):
            assert not self.day.world.violations

    def teardown(self) -> None:
        if hasattr(self, "day") and not self.day.world.violations:
            assert not self.day.trouble()


TestWeather = Weather.TestCase
TestWeather.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)
