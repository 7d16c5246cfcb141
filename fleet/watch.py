"""Watches the first new member of a rollout while it has visitors, and takes it out of service when it does badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncssh

from fleet import canary, commands, ssh
from fleet.canary import Member, Outcome, Status, Verdict, Watch
from fleet.errors import FleetError

LOOK_EVERY_SECONDS: Final = 1.0
# A look that takes longer has failed; the next one logs in anew.
LOOK_SECONDS: Final = 5.0
TELL_EVERY_SECONDS: Final = 10.0
# More members to compare with make the rates no surer, and would each cost a session.
MOST_COMPARED: Final = 30

Say = Callable[[str], None]


class CanaryError(FleetError):
    """The canary must not get more visitors, and the rollout must not go on."""


class StatusError(FleetError):
    """A machine's fence does not say how it stands."""


@dataclass(slots=True)
class Seat:
    """A member under watch and the session with it, which is kept between looks."""

    member: Member
    target: ssh.Target
    private_address: str = ""
    connection: asyncssh.SSHClientConnection | None = field(default=None, repr=False)

    async def look(self, now: float, *, ready: bool) -> None:
        """Ask how it stands, and when `ready` whether it can serve."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                connection = await self._connected()
                status = await ask(connection)
                can_serve = await self._ready(connection) if ready and self.private_address else None
        except (FleetError, TimeoutError) as error:
            self.close()
            self.member = self.member.missing(str(error) or f"no answer within {LOOK_SECONDS:.0f} s")
        else:
            self.member = self.member.seen(status, now, ready=can_serve)

    async def hold(self, reason: str) -> None:
        """Take it out of service. Raises FleetError when it cannot be told."""
        try:
            async with asyncio.timeout(3 * LOOK_SECONDS):
                done = await ssh.run(await self._connected(), commands.fence_hold(reason))
        except TimeoutError as error:
            raise ssh.UnreachableError(
                f"no answer from {self.target.host} to `flotilla-fence hold`"
            ) from error
        if done.exit_code != 0:
            raise FleetError(
                f"`flotilla-fence hold` ended with {done.exit_code}: {done.output.strip()[-300:]}"
            )

    def close(self) -> None:
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    async def _connected(self) -> asyncssh.SSHClientConnection:
        if self.connection is None:
            self.connection = await ssh.connect(self.target)
        return self.connection

    async def _ready(self, connection: asyncssh.SSHClientConnection) -> bool:
        return (await ssh.run(connection, commands.ready(self.private_address))).exit_code == 0


async def ask(connection: asyncssh.SSHClientConnection) -> Status:
    """How a member's fence stands. Raises StatusError, or UnreachableError."""
    done = await ssh.run(connection, commands.FENCE_STATUS)
    if done.exit_code != 0:
        raise StatusError(
            f"`flotilla-fence status` ended with {done.exit_code}: {done.output.strip()[-300:]}"
        )
    return read_status(done.output)


def read_status(text: str) -> Status:
    """Raises StatusError for a text that is no status."""
    try:
        given: dict[str, Any] = json.loads(text)
        latency = given["latency"]
        recent = given.get("recent", {})
        status = Status(
            state=str(given["state"]),
            reason=str(given["reason"]),
            requests=int(given["requests"]),
            errors=int(given["errors"]),
            bounds=tuple(float(bound) for bound in latency["bounds"]),
            counts=tuple(int(count) for count in latency["counts"]),
            recent_requests=int(recent.get("requests", 0)),
            recent_errors=int(recent.get("errors", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StatusError(
            f"`flotilla-fence status` says what is no status: {text.strip()[:200]!r}"
        ) from error
    if len(status.counts) != len(status.bounds) + 1:
        raise StatusError(
            f"`flotilla-fence status` has {len(status.counts)} counts for {len(status.bounds)} bounds of latency"
        )
    return status


async def watch(seat: Seat, others: Sequence[Seat], wanted: Watch, stack: str, say: Say) -> str:
    """Watch to the end; returns how the canary did. Raises CanaryError when it does badly, after holding it."""
    others = others[:MOST_COMPARED]
    try:
        verdict = await _until_judged(seat, others, wanted, say)
        numbers = _numbers(seat, others)
        if verdict.outcome is Outcome.GOOD:
            return f"{numbers}" + (f" ({verdict.reason})" if verdict.reason else "")
        fenced = await _fence(seat, verdict)
    finally:
        for each in (seat, *others):
            each.close()
    raise CanaryError(
        f"the canary {seat.member} does badly: {verdict.reason}\n  {numbers}\n  {fenced}\n{way_on(seat, stack, verdict)}"
    )


def way_on(seat: Seat, stack: str, verdict: Verdict) -> str:
    """What the operator can do after a failed canary."""
    slot = seat.member.name
    release = (
        ""
        if verdict.hold
        else f"\n  or, if the canary is fine by now: `fleet unfence {slot} -s {stack}`, then the same"
    )
    return (
        "The other members keep serving from their old machines. To go on, set web.image to an image that works "
        f"(the old one: git has it in Pulumi.{stack}.yaml), with\n"
        f"  `pulumi config set --path web.image IMAGE -s {stack}`, then `fleet recover -s {stack} && pulumi up -s {stack}`"
        f"{release}"
    )


async def _until_judged(seat: Seat, others: Sequence[Seat], wanted: Watch, say: Say) -> Verdict:
    clock = asyncio.get_running_loop().time
    began = clock()
    told = 0.0
    while True:
        now = clock() - began
        await asyncio.gather(
            seat.look(now, ready=True), *(other.look(now, ready=seat.member.unready > 0) for other in others)
        )
        now = clock() - began
        verdict = canary.judge(seat.member, [other.member for other in others], now, wanted)
        if verdict.outcome is not Outcome.WAIT:
            return verdict
        if now - told >= TELL_EVERY_SECONDS:
            told = now
            say(
                f"watching {seat.member} for {now:.0f} of {wanted.end:.0f} s at most: {_numbers(seat, others)}"
            )
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _fence(seat: Seat, verdict: Verdict) -> str:
    """Hold a bad canary; says what came of it."""
    if not verdict.hold:
        return "it is left as it is"
    try:
        await seat.hold(f"canary: {verdict.reason}")
    except FleetError as error:
        return f"it could NOT be fenced ({error}); visitors that the edge sends there may see errors"
    return "it is fenced: the edge's next visitors go to the others"


def _numbers(seat: Seat, others: Sequence[Seat]) -> str:
    serving = [other.member for other in others if other.member.open and other.member.traffic.requests]
    compared = canary.total(member.traffic for member in serving)
    if not serving:
        return f"canary: {seat.member.traffic}; no other member had visitors"
    return f"canary: {seat.member.traffic}; {len(serving)} others with visitors: {compared}"
