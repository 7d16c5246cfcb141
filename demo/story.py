"""The chapters: what happens, by which commands, and what to wait for before the next one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from demo.crowd import Crowd, Way
from demo.screen import Screen
from demo.shell import DemoError, Shell

STACK: Final = "prod"
VICTIM: Final = "web-2"
CALM, RUSH = 20.0, 250.0
TARGET_KEY: Final = "flotilla:autoscaler.target_cpu"
LOW_TARGET: Final = 5
PROPAGATION_KEY: Final = "flotilla:edge.propagation_seconds"
PROPAGATION: Final = 6
HEAL_SECONDS: Final = 180.0
GROW_SECONDS: Final = 180.0
LOOK_SECONDS: Final = 1.0

_Check = Callable[[], Awaitable[bool]]


class Story:
    """One telling, on the stack that `make up STACK=prod` made."""

    def __init__(self, screen: Screen, shell: Shell) -> None:
        self._screen = screen
        self._shell = shell
        self._heard = datetime.now(UTC).isoformat()
        self._asked_by_load = False
        self._target = ""

    async def tell(self) -> Crowd:
        """All chapters; the crowd that came meanwhile. Raises DemoError when one does not end as it should."""
        crowd = Crowd(await self._visit(), CALM)
        coming = asyncio.create_task(crowd.come())
        try:
            async with self._screen.watching(crowd):
                await self._heal()
                await self._grow(crowd)
                await self._roll_out_and_back()
        finally:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await coming
        return crowd

    async def _visit(self) -> Way:
        self._screen.chapter(
            "A visit",
            "Three members behind the edge, a managed database, a controller. The page tells who served it.",
        )
        self._target = await self._setting(TARGET_KEY)
        url = await self._shell.ask(f"pulumi stack output url -s {STACK}")
        line = (await self._shell.ask(f"python -m sandbox visit {url}")).splitlines()[-1].strip()
        await self._shell.run(f"{line} -H 'Accept: application/json'")
        await self._shell.run(f"fleet status -s {STACK}")
        return Way.read(line)

    async def _heal(self) -> None:
        self._screen.chapter(
            "A member dies",
            f"The power of {VICTIM} is cut. Nobody does anything: the controller takes its record out of the rotation, "
            "switches it on again, and puts it back when it is well.",
        )
        await self._shell.run(f"python -m sandbox fault {VICTIM} kill")
        seconds = await self._until(f"{VICTIM} serves again", HEAL_SECONDS, self._healed)
        self._screen.note(f"{VICTIM} serves again, {seconds:.0f} s after its power was cut")

    async def _grow(self, crowd: Crowd) -> None:
        self._screen.chapter(
            "The load rises",
            f"From {CALM:.0f} to {RUSH:.0f} visits a second. That keeps members here hardly busy, so the target is lowered "
            "first, which the controller is told without a new node. Then it makes burst members: same image, same gate, "
            f"records of their own. (And Cloudflare sees a changed record within 300 s, the local edge within {PROPAGATION}: "
            "nobody has to wait for more.)",
        )
        await self._shell.run(f"pulumi config set -s {STACK} --path {PROPAGATION_KEY} {PROPAGATION}")
        await self._shell.run(f"pulumi config set -s {STACK} --path {TARGET_KEY} {LOW_TARGET}")
        await self._shell.run(f"pulumi up -s {STACK} --yes --skip-preview")
        crowd.rate = RUSH

        async def grown() -> bool:
            members, _ = crowd.tally.recent(time.monotonic())
            return self._asked_by_load and any(member.startswith("burst-") for member in members)

        seconds = await self._until("a burst member serves", GROW_SECONDS, grown)
        crowd.rate = CALM
        self._screen.note(
            f"the fleet has grown, {seconds:.0f} s after the load rose; calm again, it will shrink"
        )

    async def _roll_out_and_back(self) -> None:
        before = await self._setting("flotilla:web.image")
        self._screen.chapter(
            "A release is rolled out",
            "A golden image is baked; new machines boot beside the old ones and pass their gates; the first one is watched "
            "with visitors; then the others follow, and the old ones leave when their last request is answered.",
        )
        await self._shell.run(f"fleet bake web -s {STACK} --fresh")
        await self._shell.run(f"pulumi up -s {STACK} --yes --skip-preview")
        self._screen.chapter("And back", "The image that ran before is one line of config.")
        await self._shell.run(f"pulumi config set -s {STACK} --path flotilla:web.image {before}")
        await self._shell.run(f"pulumi config set -s {STACK} --path {TARGET_KEY} {self._target}")
        await self._shell.run(f"pulumi up -s {STACK} --yes --skip-preview")
        await self._shell.run(f"fleet status -s {STACK}")

    async def _setting(self, key: str) -> str:
        return await self._shell.ask(f"pulumi config get -s {STACK} --path {key}")

    async def _healed(self) -> bool:
        rows: list[dict[str, Any]] = await self._shell.ask_json(f"fleet status -s {STACK} --json")
        return any(row["slot"] == VICTIM and row["fence"] == "open" and row["in_rotation"] for row in rows)

    async def _until(self, what: str, limit: float, check: _Check) -> float:
        """Seconds until the check holds; the controller's log is shown meanwhile."""
        started = time.monotonic()
        while time.monotonic() - started < limit:
            await self._follow()
            if await check():
                return time.monotonic() - started
            await asyncio.sleep(LOOK_SECONDS)
        raise DemoError(
            f"{what}: not within {limit:.0f} s; `fleet log -s {STACK}` tells what the controller did"
        )

    async def _follow(self) -> None:
        """What the controller has said since the last look."""
        said = await self._shell.ask(f"fleet log -s {STACK} --json")
        lines = [json.loads(line) for line in said.splitlines()]
        for line in lines:
            if line["at"] > self._heard:
                self._asked_by_load |= line["kind"] == "reason" and "wanted: load" in line["text"]
                self._screen.output(f"controller: {line['kind']} {line['about']}: {line['text']}")
        self._heard = max((line["at"] for line in lines), default=self._heard)
