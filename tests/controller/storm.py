"""Bad days, made up from a seed: everything that may go wrong goes wrong in some order, then the weather clears."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fleet.controller import decide as production
from fleet.controller.model import Hold, Memory, Orders
from tests.controller.pulumi import resize, rollout
from tests.controller.runner import Decide, Faults, Runner, stored
from tests.controller.world import FAULTS, TICK, Machine, World

LONGEST_SETTLING = 1500


@dataclass
class Storm:
    """One bad day. `trouble` ends it as soon as something forbidden was done."""

    world: World
    runner: Runner
    pulumi: Iterator[None] | None = None

    def blow(self, steps: int) -> None:
        for _ in range(steps):
            self.event()
            self.step()
            if self.world.violations:
                return

    def step(self) -> None:
        """One pass, with Pulumi's next step beside it."""
        self.runner.step()
        self.go_on()

    def go_on(self) -> None:
        if self.pulumi is not None and next(self.pulumi, self) is self:
            self.pulumi = None

    def event(self) -> None:
        random = self.world.random
        if random.random() < 0.75:
            return
        events = (
            (self.break_one, 8),
            (self.mend_one, 6),
            (self.break_many, 1),
            (self.lie, 3),
            (self.be_honest, 4),
            (self.crash, 4),
            (self.order, 2),
            (self.load, 2),
            (self.run_pulumi, 1),
            (self.shake_node, 1),
            (self.stranger, 1),
            (self.database, 1),
            (self.hold_one, 1),
            (self.lose_one, 1),
        )
        chosen = random.choices([event for event, _ in events], [weight for _, weight in events])[0]
        chosen()

    def any_machine(self) -> Machine:
        return self.world.random.choice(list(self.world.machines.values()))

    def break_one(self) -> None:
        self.damage(self.any_machine(), self.world.random.choice((*FAULTS, "off", "cut", "flaky")))

    def damage(self, machine: Machine, fault: str) -> None:
        if fault in ("off", "cut", "flaky"):
            setattr(machine, fault, True)
        else:
            machine.faults.add(fault)

    def break_many(self) -> None:
        fault = self.world.random.choice(FAULTS)
        for machine in self.world.machines.values():
            if self.world.random.random() < 0.6:
                self.damage(machine, fault)

    def mend_one(self) -> None:
        self.mend(self.any_machine())

    def mend(self, machine: Machine) -> None:
        machine.faults.clear()
        machine.off = machine.cut = machine.flaky = machine.held = False

    def lie(self) -> None:
        random = self.world.random
        self.runner.faults = Faults(
            lists_unknown=random.choice((0.0, 0.3, 1.0)),
            stale_ticks=random.choice((0, 0, 1, 2, 4)),
            partial=random.choice((0, 0, 0, 2, 3)),
            lost_answers=random.choice((0.0, 0.3)),
            refused=random.choice((0.0, 0.3, 1.0)),
            slow_ticks=random.choice((0, 2, 10)),
        )

    def be_honest(self) -> None:
        self.runner.faults = Faults()

    def crash(self) -> None:
        random = self.world.random
        self.runner.crash(
            saved=random.random() < 0.7, calls=random.randint(0, 3), after=random.random() < 0.5
        )

    def order(self) -> None:
        random, world = self.world.random, self.world
        hold = Hold(owner="ann")
        now = world.now + world.wall_offset
        world.orders = random.choice(
            (
                Orders(changed=now),
                Orders(changed=now, scale=random.randint(1, 9)),
                Orders(changed=now, create=hold),
                Orders(changed=now, destroy=hold),
                Orders(changed=now, create=hold, destroy=replace(hold, until=now + 100)),
                None,
            )
        )

    def hold_one(self) -> None:
        machine = self.any_machine()
        machine.held = not machine.held

    def lose_one(self) -> None:
        """Somebody deletes a droplet by hand."""
        if bursts := self.world.bursts():
            del self.world.machines[self.world.random.choice(bursts).id]

    def load(self) -> None:
        self.world.load = self.world.random.choice((0.0, 1.0, 2.5, 5.0))

    def database(self) -> None:
        self.world.database_away = not self.world.database_away

    def shake_node(self) -> None:
        random = self.world.random
        match random.randrange(3):
            case 0:
                self.world.wall_offset += random.choice((-86_400.0, -3600.0, 3600.0, 86_400.0))
            case 1:
                self.world.boot += "'"
                self.runner.memory = stored(self.runner.memory)
            case 2:
                self.runner.crash()
                self.runner.memory = Memory()
                self.runner.doomed.clear()
                self.runner.spent.clear()
                self.runner.repaired.clear()

    def stranger(self) -> None:
        random = self.world.random
        machine = self.world.make(random.choice(("web-1", "burst-9", "mine")), "v0", booted=True)
        machine.tagged = False
        self.world.add_record("", f"198.51.100.{random.randint(1, 250)}")

    def run_pulumi(self) -> None:
        if self.pulumi is None:
            random, world = self.world.random, self.world
            count = max(1, world.policy.count + random.choice((-2, -1, 1, 2)))
            self.pulumi = (
                rollout(world, f"v{random.randint(1, 3)}") if random.random() < 0.5 else resize(world, count)
            )

    def clear(self) -> None:
        """Whatever was broken by others is mended, what was begun is finished, and the controller is let go on."""
        self.be_honest()
        while self.pulumi is not None:
            self.go_on()
            self.world.tick()
        world = self.world
        for machine in world.machines.values():
            self.mend(machine)
            # A rebuild that was cut off, seen through by an operator; Pulumi's own are ready.
            machine.configured = machine.configured or not machine.burst
        world.database_away = False
        world.load = 0.0
        more = world.random.choice((None, world.policy.count + 1))
        world.orders = Orders(changed=world.now + world.wall_offset + 1e7, scale=more)

    def trouble(self) -> list[str]:
        """What is wrong after the storm, when all had time to settle."""
        if not self.world.violations:
            self.clear()
            # A day's limit must not keep a harmless twin for the test's whole time.
            self.runner.memory = replace(self.runner.memory, destroyed=())
            self.runner.spent.clear()
            if self.runner.settle(LONGEST_SETTLING) == LONGEST_SETTLING:
                self.world.violations.append("it never comes to rest")
        return self.world.violations or list(unsettled(self.world, self.runner))


def unsettled(world: World, runner: Runner) -> Iterator[str]:
    """What is not as it should be once all is quiet: level-triggered means that no history may leave anything behind."""
    figures = runner.last.figures if runner.last else None
    slots = [f"web-{number}" for number in range(1, world.policy.count + 1)]
    serving = [machine.slot for machine in world.serving() if machine.tagged]
    for slot in slots:
        if slot not in serving:
            yield f"{slot} is not back in the rotation"
    bursts = world.bursts()
    wanted = figures.wanted if figures else 0
    if len(bursts) != max(0, wanted - len(slots)):
        yield f"{len(bursts)} burst members where {wanted} members are wanted"
    if len({machine.slot for machine in bursts}) != len(bursts):
        yield "twins"
    addresses = {machine.address for machine in world.machines.values()}
    for record in world.records.values():
        if record.comment and record.content not in addresses:
            yield f"{record} leads nowhere"
        if record.comment and record.name != world.policy.domain:
            yield f"{record} is still out of the rotation"
    if runner.memory.intents:
        yield f"{runner.memory.intents} are still asked for"


def storm(seed: int, decide: Decide = production.decide) -> Storm:
    """A day from a seed; not begun yet."""
    world = World(seed, count=(1, 2, 3, 3, 4, 9)[seed % 6])
    random = world.random
    world.policy = replace(
        world.policy,
        target_cpu=random.choice((None, 60)),
        maximum=world.policy.count + random.choice((0, 1, 3, 5)),
    )
    return Storm(world, Runner(world, decide))


def play(seed: int, decide: Decide = production.decide, steps: int = 250) -> list[str]:
    """What goes wrong on the day of a seed: run this to see a failure again."""
    day = storm(seed, decide)
    day.blow(steps)
    return day.trouble()


__all__ = ["TICK", "Storm", "play", "storm", "unsettled"]
