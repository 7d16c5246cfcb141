"""What the fence's watcher sees: its own nginx and app, the visits, and its peers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from fleet.machine import fence_status, peers, places
from fleet.machine.asking import Question, Reply
from fleet.machine.fence import Health, Local, Memory, Peer, State, Trouble
from fleet.machine.host import Clock, Host
from fleet.machine.processor import Processor
from fleet.machine.visits import RECENT_SECONDS, AccessLog, Tally, parse

APP_SOCKET: Final = "/run/flotilla-app.sock"
NGINX: Final = ("127.0.0.1", 8099)
# A hang begins up to fence_watch.INTERVAL_SECONDS before a check, which then misses fence.MISSES times, and two looks
# at the peers follow: 0.2 + 2 * 0.6 + 2 * 0.3 = 2 s at most, and about 1.5 s while the peers answer at once.
CHECK_SECONDS: Final = 0.6
RESTART_SECONDS: Final = 15.0
PEER_SECONDS: Final = 0.3
# The app is slow and not hanging while it answers at this share of its pace of before. Work that was under way when it
# hung, and ends one by one, stays below it; few answers tell nothing.
PACE_SHARE: Final = 0.25
PACE_ANSWERS: Final = 5
# Little is left for the app to answer in time with.
BUSY_SHARE: Final = 0.9
_APP: Final = "the app"

Ask = Callable[[Mapping[str, Question], float], dict[str, Reply]]


class Senses:
    """Observations of one member; what it is told by files is read anew when the files change."""

    def __init__(self, host: Host, clock: Clock, ask: Ask, slot: str) -> None:
        self.tally = Tally()
        self.processor = Processor(host)
        self._host = host
        self._clock = clock
        self._ask = ask
        self._slot = slot
        self._log = AccessLog(host.path(places.ACCESS_LOG))
        self._missed_since: float | None = None
        self._pace = 0.0  # visits answered per second before the first missed check
        self._settings = _Watched(host, places.SETTINGS)
        self._hold = _Watched(host, places.FENCE_HOLD)

    def local(self, memory: Memory) -> Local:
        """This member as it is now; takes up to CHECK_SECONDS."""
        began = self._clock.now()
        if self._missed_since is None:
            recent = self.tally.recent(began)
            self._pace = (recent.requests - recent.errors) / RECENT_SECONDS
        health, reason, ready = self._check(closed=memory.state is not State.OPEN)
        if health is Health.SLOW and memory.state is State.OPEN and self._restarting():
            health, reason = Health.FINE, ""
        now = self._clock.now()
        self.read_visits(now)
        self.processor.look(now)
        if health is Health.FINE:
            self._missed_since = None
        elif self._missed_since is None:
            self._missed_since = began
        hold = self._hold.value()
        serving, busy = self._serving(now), (self.processor.share() or 0.0) >= BUSY_SHARE
        return Local(
            now=now,
            health=health,
            reason=reason,
            recent=self.tally.recent(now),
            serving=serving,
            busy=busy,
            stuck=health is Health.SLOW and reason.startswith(_APP) and not serving and not busy,
            ready=ready,
            held=None if hold is None else str(hold.get("reason", "")),
        )

    def peers(self, trouble: Trouble) -> dict[str, Peer | None]:
        """The other members as they are now; empty without a list of them. Takes up to PEER_SECONDS."""
        addresses = {slot: address for slot, address in peers.load(self._host).items() if slot != self._slot}
        questions = {
            slot: Question((address, fence_status.PORT), fence_status.PATH)
            for slot, address in addresses.items()
        }
        asks_ready = trouble is Trouble.SLOW
        if asks_ready:
            questions |= {
                f"{slot} ready": Question((address, fence_status.PORT), fence_status.READY_PATH)
                for slot, address in addresses.items()
            }
        replies = self._ask(questions, PEER_SECONDS)
        return {
            slot: fence_status.peer_of(replies[slot], replies[f"{slot} ready"] if asks_ready else None)
            for slot in addresses
        }

    def read_visits(self, now: float) -> None:
        wall = self._clock.wall()
        for line in self._log.lines(now):
            visit = parse(line)
            if visit is not None:
                self.tally.add(now - max(0.0, wall - visit.ended), visit.status, visit.seconds)

    def _serving(self, now: float) -> bool:
        """Visits that came after the first missed check were answered, or enough of those that came before."""
        since = self._missed_since
        if since is None:
            return False
        ended, begun = self.tally.answered(since)
        expected = PACE_SHARE * self._pace * min(now - since, RECENT_SECONDS)
        return begun > 0 or ended >= max(PACE_ANSWERS, expected)

    def _restarting(self) -> bool:
        """The app was told to restart a moment ago, and requests wait for it."""
        try:
            told = self._host.path(places.FENCE_EXCUSE).stat().st_mtime
        except FileNotFoundError:
            return False
        return 0 <= self._clock.wall() - told < RESTART_SECONDS

    def _check(self, *, closed: bool) -> tuple[Health, str, bool]:
        settings = self._settings.value() or {}
        names = settings.get("server_names") or ["localhost"]
        name = str(names[0]).replace("*", "www")
        app = str(self._host.path(APP_SOCKET))
        questions = {
            "nginx": Question(NGINX, "/"),
            _APP: Question(app, str(settings.get("live_path", "/livez")), name),
        }
        if closed:
            questions["ready"] = Question(app, str(settings.get("ready_path", "/readyz")), name)
        replies = self._ask(questions, CHECK_SECONDS)
        ready = not closed or replies["ready"].status == 200
        for who in ("nginx", _APP):
            reply = replies[who]
            if reply.late:
                return Health.SLOW, f"{who}: {reply.fault}", ready
            if not 100 <= reply.status < 500:
                fault = reply.fault or f"GET {questions[who].path} answers {reply.status}"
                return Health.DEAD, f"{who}: {fault}", ready
        return Health.FINE, "", ready


class _Watched:
    """A JSON file that may change, read only when it did."""

    def __init__(self, host: Host, path: str) -> None:
        self._path = host.path(path)
        self._seen: tuple[int, int] | None = None
        self._value: dict[str, Any] | None = None

    def value(self) -> dict[str, Any] | None:
        """None when there is no such file; an empty object when it cannot be read."""
        try:
            there = self._path.stat()
            seen = (there.st_ino, there.st_mtime_ns)
            if seen != self._seen:
                loaded = json.loads(self._path.read_text(encoding="utf-8"))
                self._value = loaded if isinstance(loaded, dict) else {}
                self._seen = seen
        except FileNotFoundError:
            self._seen = self._value = None
        except ValueError:
            self._value = {}
        return self._value
