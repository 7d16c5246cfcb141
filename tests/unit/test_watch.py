"""The watch of a canary over real SSH sessions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from fleet import commands, ssh, watch
from fleet.canary import Member, Watch
from fleet.watch import CanaryError, Seat, StatusError
from tests.unit.ssh_machine import SshMachine, ssh_machine

STATUS: dict[str, Any] = {
    "slot": "web-1",
    "state": "open",
    "reason": "",
    "requests": 0,
    "errors": 0,
    "latency": {"bounds": [0.1, 1.0], "counts": [0, 0, 0]},
    "recent": {"requests": 0, "errors": 0},
}


@dataclass
class Fence:
    """What a member's `flotilla-fence` says: `grow` more visits at each look, a share of them failed."""

    grow: int = 0
    failing: bool = False
    state: str = "open"
    reason: str = ""
    ready: bool = True
    deaf: bool = False
    looks: int = 0
    holds: list[str] = field(default_factory=list)

    def __call__(self, command: str, _: str) -> tuple[int, str]:
        if command.startswith(f"{commands.FENCE} hold"):
            self.holds.append(command)
            return (1, "cannot") if self.deaf else (0, "held")
        if command != commands.FENCE_STATUS:
            return (0 if self.ready else 1), ""
        self.looks += 1
        visits = self.grow * self.looks
        return 0, json.dumps(
            STATUS
            | {"state": self.state, "reason": self.reason, "requests": visits}
            | {"errors": visits if self.failing else 0}
            | {"latency": {"bounds": [0.1, 1.0], "counts": [visits, 0, 0]}}
        )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(ssh, "RETRY_SECONDS", 0.02)


def seat(machine: SshMachine, name: str = "web-1") -> Seat:
    return Seat(Member(name, "198.18.0.1"), machine.target, private_address="10.20.0.3")


async def run(canary: Fence, other: Fence, *, seconds: float = 0.3, propagation: float = 0.2) -> str:
    async with ssh_machine(canary) as first, ssh_machine(other) as second:
        return await watch.watch(
            seat(first), [seat(second, "web-2")], Watch(seconds, propagation), "prod", lambda _: None
        )


async def test_a_good_canary_passes_with_its_numbers() -> None:
    text = await run(Fence(grow=5), Fence(grow=5))
    assert "0 errors" in text
    assert "1 others with visitors" in text


async def test_a_canary_without_visitors_passes_when_its_time_is_over_and_says_so() -> None:
    assert "none came to it in that time" in await run(Fence(), Fence(grow=5))


async def test_a_failing_canary_is_held_at_once_and_the_message_says_how_to_go_on() -> None:
    canary, other = Fence(grow=5, failing=True), Fence(grow=5)
    with pytest.raises(CanaryError) as raised:
        await run(canary, other, seconds=3600)
    message = str(raised.value)
    assert canary.holds
    assert "canary: " in canary.holds[0]
    assert not other.holds
    for part in (
        "the canary web-1 (198.18.0.1) does badly: ",
        "visits failed",
        "it is fenced",
        "pulumi config set --path web.image IMAGE -s prod",
        "fleet recover -s prod && pulumi up -s prod",
    ):
        assert part in message


async def test_a_canary_that_cannot_be_held_is_said_so() -> None:
    with pytest.raises(CanaryError, match=r"could NOT be fenced .*ended with 1: cannot"):
        await run(Fence(grow=5, failing=True, deaf=True), Fence(grow=5), seconds=3600)


async def test_a_canary_held_by_an_earlier_watch_fails_at_once_and_is_not_held_again() -> None:
    canary = Fence(state="held", reason="canary: too slow")
    with pytest.raises(CanaryError) as raised:
        await run(canary, Fence(grow=5), seconds=3600)
    assert (canary.looks, canary.holds) == (1, [])
    assert "held out of service already: canary: too slow" in str(raised.value)
    assert "fleet unfence web-1 -s prod" in str(raised.value)


async def test_a_canary_that_is_not_ready_is_held_when_another_is() -> None:
    canary = Fence(ready=False)
    with pytest.raises(CanaryError, match="times in a row that it is not ready"):
        await run(canary, Fence(), seconds=3600)
    assert canary.holds


async def test_when_nobody_is_ready_nobody_is_held_and_the_rollout_stops() -> None:
    canary = Fence(ready=False)
    with pytest.raises(CanaryError, match="nor is any other member"):
        await run(canary, Fence(ready=False))
    assert not canary.holds


async def test_a_canary_that_is_gone_fails_after_a_few_looks(unused_tcp_port: int) -> None:
    async with ssh_machine(Fence(grow=5)) as other:
        gone = seat(SshMachine(Fence(), port=unused_tcp_port))
        with pytest.raises(CanaryError, match=r"3 looks in a row failed.*(?s:.*)could NOT be fenced"):
            await watch.watch(gone, [seat(other, "web-2")], Watch(3600, 0), "prod", lambda _: None)


async def test_others_that_are_gone_or_too_old_are_not_compared_with(unused_tcp_port: int) -> None:
    async with ssh_machine(Fence(grow=5)) as canary, ssh_machine(lambda *_: (127, "not found")) as old:
        others = [seat(SshMachine(Fence(), port=unused_tcp_port), "web-2"), seat(old, "web-3")]
        text = await watch.watch(seat(canary), others, Watch(0.2, 0.1), "prod", lambda _: None)
    assert "no other member had visitors to compare with" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps(STATUS | {"requests": "many"}),
        json.dumps(STATUS | {"latency": {"bounds": [1], "counts": [1]}}),
    ],
)
def test_what_is_no_status_is_named(text: str) -> None:
    with pytest.raises(StatusError):
        watch.read_status(text)
