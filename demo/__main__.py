"""`make demo`: visit, lose a member, heal, grow, roll out, roll back, on the prod stack of the local cloud.

Nothing is played: the commands are an operator's, the visitors come through the edge, and what fails is counted. Takes
about ten minutes. Exit code 1 when a chapter does not end as it should.
"""

from __future__ import annotations

import asyncio
import sys

from demo.screen import Screen
from demo.shell import DemoError, Shell, environment
from demo.story import Story


def main() -> int:
    screen = Screen()
    try:
        shell = Shell(environment(), screen.command, screen.output)
        crowd = asyncio.run(Story(screen, shell).tell())
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "Stopped. The stack is as it was left; `fleet recover -s prod` if an update was running.",
            file=sys.stderr,
        )
        return 130
    tally = crowd.tally
    told = ", ".join(f"{count} {what}" for what, count in tally.troubles.items())
    screen.chapter(
        "The end",
        f"{tally.answered:,} visits were answered and {tally.failed} failed{f' ({told})' if told else ''}.",
    )
    if tally.failed:
        screen.note("who was waiting for the machine whose power was cut is lost; nothing else should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
