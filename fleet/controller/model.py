"""What the controller sees, remembers and does, as plain values.

A pass is: observe everything at once, `decide(policy, observation, memory)`, write the decision's memory to disk, and
only then start its actions. Actions run beside later passes; what runs is told to the next one as `under_way`, what
ended as `outcomes`. After a crash both are empty, and every action is safe to start again.

In all of this None means "not known" and an empty collection means "known to be empty": what is not known is never acted
on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

BURST: Final = "burst"
SLOT: Final = "web"
EJECTED: Final = "out"

# Pulumi's and the controller's droplets alike: a slot, and seven digits of its own for each droplet that was in it.
_DROPLET = re.compile(rf"((?:{SLOT}|{BURST})-[1-9]\d*)-([0-9a-f]{{7}})")


class Fence(StrEnum):
    """What a member says of its fence."""

    OPEN = "open"
    CLOSED = "closed"
    """By itself: it found itself broken."""
    HELD = "held"
    """By a canary's judge or an operator: nobody's business but theirs."""
    LEAVING = "leaving"
    """It is being drained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A number of members from a point in time until the next schedule's."""

    cron: str
    """Five fields: minute, hour, day of month, month, day of week."""
    timezone: str
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the stack's config asks for."""

    stack: str
    domain: str
    count: int
    """Slots, which Pulumi owns; never fewer members serve by the controller's doing."""
    maximum: int
    """Slots and burst members together."""
    image: str
    """By any of its names."""
    schedules: tuple[Schedule, ...] = ()
    target_cpu: int | None = None
    """Percent of the members' processors that should be busy; None: nothing follows the load."""
    cooldown_seconds: float = 300.0

    def comment(self, slot: str) -> str:
        """How the records of a slot are found, whatever they are named."""
        return f"flotilla {self.stack} {slot}"

    def ejected(self, slot: str) -> str:
        """The name of a record that is taken out of the rotation."""
        return f"{EJECTED}-{slot}.{self.domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A droplet as the cloud lists it: one with the tag `<stack>-web`."""

    id: int
    name: str
    status: str
    """new, active, off or archive."""
    tags: frozenset[str]
    images: frozenset[str]
    """All names of its image."""
    address: str | None = None
    address6: str | None = None
    private_address: str | None = None
    locked: bool = False
    """The cloud is busy with it."""

    @property
    def slot(self) -> str | None:
        """The slot that its name tells; None for a stranger's droplet."""
        match = _DROPLET.fullmatch(self.name)
        return match[1] if match else None

    @property
    def request(self) -> str | None:
        match = _DROPLET.fullmatch(self.name)
        return match[2] if match else None

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(address for address in (self.address, self.address6) if address)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An address record of the stack's zone that has the stack's domain as its name, or a comment of the stack."""

    id: str
    name: str
    content: str
    """An address, written as in Seen."""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What came of a probe of one member over the private network."""

    answered: bool
    """Whether its status came; all below means nothing without."""
    fence: Fence | None = None
    """None: it answers, but nobody watches its fence."""
    reason: str = ""
    """The fence's own."""
    ready: bool | None = None
    """Able to serve with all it depends on. Never a reason to repair: the database is no member's fault."""
    cpu: float | None = None
    """Share of its processors that is busy, 0 to 1."""
    requests: int = 0
    """Visits of the last seconds."""
    errors: int = 0
    """Those of them that were answered 5xx."""
    reached_by_peer: bool | None = None
    """Whether another member reaches it, asked when the controller does not; None: nobody could be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A switch that is off."""

    owner: str
    reason: str = ""
    until: float | None = None
    """Unix seconds; None: until it is lifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What operators have said."""

    create: Hold | None = None
    """Holds the actions of CREATING."""
    destroy: Hold | None = None
    """Holds those of DESTROYING: all that can cost a visitor."""
    scale: int | None = None
    """Members that `fleet scale N` asks for; None: automatic."""
    changed: float = 0.0
    """Unix seconds of the last order; a new one forgives earlier failures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Now. Durations are taken from the monotonic clock, or a jump of the wall clock would end every waiting time."""

    wall: float
    """Unix seconds."""
    monotonic: float
    """Seconds since the machine's boot."""
    boot: str
    """Names the boot that `monotonic` counts from."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make the droplet `<slot>-<request>`. The same request is never two droplets: it is looked for first."""

    slot: str
    request: str

    @property
    def name(self) -> str:
        return f"{self.slot}-{self.request}"


@dataclass(frozen=True, slots=True)
class Prepare:
    """Deliver the secrets and the peers to a machine and pass its gate; an error when it does not pass."""

    slot: str
    droplet: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the records that lead visitors to a burst member, where they are missing."""

    slot: str
    droplet: int
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Eject:
    """Rename a dead member's records in place, out of the rotation. Here and below a record is only touched while it is
    still as it was seen: Pulumi may have switched it to another machine since."""

    slot: str
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Restore:
    """Give a slot's ejected records their name back."""

    slot: str
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Delete records of a burst slot."""

    slot: str
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """Let a burst member's visitors end, after its records are gone; a dead one is drained at once."""

    slot: str
    droplet: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a burst member."""

    slot: str
    droplet: int


@dataclass(frozen=True, slots=True)
class PowerCycle:
    """Switch a machine off and on."""

    slot: str
    droplet: int


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Make a slot's machine anew from its image; id and address stay."""

    slot: str
    droplet: int


Action = Create | Prepare | Publish | Eject | Restore | Withdraw | Drain | Delete | PowerCycle | Rebuild

CREATING: Final = (Create, Prepare, Publish, Restore)
DESTROYING: Final = (Eject, Withdraw, Drain, Delete, PowerCycle, Rebuild)
"""What each of the two switches holds; they are read again before every action is started."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An action that ended; `error` is None when it succeeded, and says whether it may have been done all the same."""

    action: Action
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything that one pass knows."""

    clock: Clock
    seed: str
    """Random text, new in every pass: request ids come from it."""
    droplets: tuple[Seen, ...] | None
    """All with the stack's web tag, proven complete; None when the list failed or may lack some."""
    records: tuple[Record, ...] | None
    health: Mapping[int, Health] = field(default_factory=dict)
    """By droplet; one that is missing was not asked."""
    orders: Orders | None = None
    """None: missing or unreadable, which holds everything."""
    under_way: tuple[Action, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    """What ended since the last pass."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A burst member that is to be made; written before the cloud is asked for it."""

    slot: str
    request: str
    asked: float
    """Age of the controller when the cloud was last asked."""
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Track:
    """What is remembered of one droplet. Times are ages of the controller, see Memory."""

    slot: str
    first: float
    """When it was first seen."""
    bad_since: float | None = None
    good_since: float | None = None
    misses: int = 0
    """Probes in a row without a good answer."""
    blip: float = 0.0
    """Seconds of the longest trouble of late that ended by itself."""
    blip_at: float = 0.0
    ejections: int = 0
    ejected_at: float = 0.0
    step: Step | None = None
    """How far up the ladder of repairs it was taken."""
    step_at: float = 0.0
    confirmed: bool = False
    """The cloud said that the step was done."""
    prepared: bool = False
    """It has passed its gate since it was made or rebuilt."""
    leaving_since: float | None = None
    missing_since: float | None = None
    """Since when the lists do not show it."""
    deleted: bool = False
    planned: bool = False
    """It leaves because fewer members are wanted."""
    drained: bool = False


class Step(StrEnum):
    """The ladder of repairs, in order."""

    CYCLED = "power-cycled"
    REBUILT = "rebuilt"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Tried:
    """The last start of an action."""

    at: float
    failures: int = 0
    """In a row."""


@dataclass(frozen=True, slots=True)
class Failures:
    """New members that did not pass their gate, one after the other."""

    image: str = ""
    count: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """A list that lacks more than it should; believed when it stays so."""

    since: float
    missing: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All that later decisions depend on besides what is seen. It survives restarts, see `fleet.controller.memory`.

    Times are ages: seconds that this controller has been at work in all, which no clock can jump.
    """

    age: float = 0.0
    clock: Clock | None = None
    """That of the last pass."""
    serial: int = 0
    """Requests that were ever made."""
    intents: tuple[Intent, ...] = ()
    tracks: Mapping[int, Track] = field(default_factory=dict)
    known: frozenset[int] = frozenset()
    """The members of the last list that was believed."""
    doubt: Doubt | None = None
    tried: Mapping[str, Tried] = field(default_factory=dict)
    """By kind of action and slot, or droplet."""
    strays: Mapping[str, float] = field(default_factory=dict)
    """Slots whose records lead to no droplet, and since when."""
    vacant: Mapping[str, float] = field(default_factory=dict)
    """Slots that no record leads to, and since when."""
    destroyed: tuple[float, ...] = ()
    """When something was rebuilt or deleted beyond planned scale-in, in the last day."""
    cycled: tuple[float, ...] = ()
    """When something was power-cycled, in the last day."""
    failures: Failures = field(default_factory=Failures)
    orders_changed: float = 0.0
    scaled_at: float | None = None
    """The last change of the number of members that something was done for."""
    surplus_since: float | None = None
    """Since when without a break more members serve than are wanted."""
    load: float | None = None
    """Busy processors of all members together, smoothed."""
    load_wanted: int = 0
    """Members that the load asks for."""
    held: str = ""
    """Why nothing may be done at all, as when this could not be read from disk; '' when it may."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is or is not done. The same reason has the same text in every pass, so that a log can tell news."""

    about: str
    """A slot, or `fleet`."""
    text: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The fleet in numbers, for people and metrics."""

    wanted: int = 0
    serving: int = 0
    """Members in the rotation that are well."""
    broken: int = 0
    burst: int = 0
    coming: int = 0
    leaving: int = 0
    ejected: int = 0
    breaker: bool = False
    """Too many look broken at once: nothing is repaired."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be started now, and what must be on disk before."""

    actions: tuple[Action, ...]
    memory: Memory
    reasons: tuple[Reason, ...]
    figures: Figures
