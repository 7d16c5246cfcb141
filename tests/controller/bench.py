"""What a pass of the controller costs by the number of members: `python -m tests.controller.bench`.

Only deciding and remembering, on the simulated fleet: what the clouds and the members take to answer is not in it.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from dataclasses import dataclass

from fleet.controller.decide import decide
from fleet.controller.memory import dumps
from fleet.controller.model import Orders
from tests.controller.runner import Runner
from tests.controller.world import World

PASSES = 30


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one pass, a fifth of the members being burst members."""

    members: int
    quiet: float
    """Seconds of processor time when nothing happens, the median."""
    busy: float
    """The same with a broken member, and growth."""
    remembering: float
    """Seconds to write the memory as text."""
    peak: int
    """Bytes that a pass takes at its peak."""
    kept: int
    """Bytes of the memory on disk."""


def fleet(members: int) -> Runner:
    burst = members // 5
    runner = Runner(World(1, count=members - burst, maximum=members + 10, target_cpu=60))
    runner.world.load = members * 0.5
    world = runner.world
    for number in range(1, burst + 1):
        machine = world.make(f"burst-{number}", "v1", booted=True)
        machine.configured = True
        world.add_record(machine.slot, machine.address)
    world.orders = Orders(scale=members)
    runner.passes(5)
    return runner


def measure(members: int) -> Cost:
    runner = fleet(members)
    quiet = statistics.median(timed(runner) for _ in range(PASSES))
    runner.world.machines[1].faults.add("kernel")
    runner.world.orders = Orders(scale=members + 5)
    busy = max(timed(runner) for _ in range(PASSES))
    start = time.process_time()
    text = dumps(runner.memory)
    remembering = time.process_time() - start
    seen = runner.observe()
    tracemalloc.start()
    decide(runner.world.policy, seen, runner.memory)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Cost(members, quiet, busy, remembering, peak, len(text))


def timed(runner: Runner) -> float:
    """Processor seconds of the next pass's decision."""
    seen = runner.observe()
    start = time.process_time()
    decision = decide(runner.world.policy, seen, runner.memory)
    spent = time.process_time() - start
    runner.memory = decision.memory
    for action in decision.actions:
        runner.start(action)
    runner.outcomes = []
    runner.advance()
    return spent


def main() -> None:
    print("| members | a quiet pass | a busy one at most | memory as text | peak | on disk |")
    print("|---|---|---|---|---|---|")
    for members in (10, 100, 1000):
        cost = measure(members)
        times = " | ".join(
            f"{seconds * 1000:.1f} ms" for seconds in (cost.quiet, cost.busy, cost.remembering)
        )
        print(f"| {members} | {times} | {cost.peak / 1e6:.2f} MB | {cost.kept / 1e3:.0f} kB |")


if __name__ == "__main__":
    main()
