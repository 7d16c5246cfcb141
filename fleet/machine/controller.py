"""The controller as its node's gate sees it: by the status that it writes after every pass."""

from __future__ import annotations

import json
from typing import Final

from fleet.machine.host import Clock, Host

UNIT: Final = "flotilla-controller"
STATUS: Final = "/var/lib/flotilla/controller/status.json"
FRESH_SECONDS: Final = 60.0


def working(host: Host, clock: Clock) -> str | None:
    """It sees the fleet, and its tokens let it do its work."""
    text = host.read(STATUS)
    if text is None:
        return "the controller has not finished a pass yet"
    document = json.loads(text)
    age = clock.wall() - float(document["at"])
    if age > FRESH_SECONDS:
        return f"the controller's last pass was {age:.0f} s ago"
    wrong = [*document["warnings"], *document["complaints"], *filter(None, [document["held"]])]
    return "; ".join(str(each) for each in wrong) or None
