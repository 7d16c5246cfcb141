"""flotilla-edge-ranges: follow the edge when its addresses change; whatever is wrong, the last good list stays."""

from __future__ import annotations

import http.client
import ssl
import sys
from collections.abc import Callable
from typing import Final

from fleet.config import ConfigError, Settings
from fleet.machine import edge_ranges, edge_set, nginx_process, places, units
from fleet.machine.edge_ranges import UnbelievableError
from fleet.machine.host import Clock, Host, MachineError
from fleet.machine.lock import only_one

# No token is needed: https://developers.cloudflare.com/api/resources/ips/methods/list/
SERVER: Final = "api.cloudflare.com"
PATH: Final = "/client/v4/ips"
STEP_SECONDS: Final = 10.0
TOTAL_SECONDS: Final = 30.0
# The packet filter has the new ranges by then, so nginx is in no hurry.
PATIENCE_SECONDS: Final = 60.0
LARGEST: Final = 256 * 1024

Connect = Callable[[], http.client.HTTPConnection]


def fetch(clock: Clock, connect: Connect) -> bytes:
    """What the edge's API answers; a MachineError when that is no plain, small and timely answer."""
    end = clock.now() + TOTAL_SECONDS
    connection = connect()
    try:
        connection.request("GET", PATH, headers={"Accept": "application/json", "User-Agent": "flotilla"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise MachineError(f"{SERVER}{PATH} answers {answer.status}")
        body = b""
        while chunk := answer.read1(65536):
            body += chunk
            if len(body) > LARGEST:
                raise MachineError(f"{SERVER}{PATH} answers more than {LARGEST} bytes")
            if clock.now() > end:
                raise MachineError(f"{SERVER}{PATH} takes more than {TOTAL_SECONDS:g} s")
        return body
    except (OSError, http.client.HTTPException) as error:
        raise MachineError(f"{SERVER}{PATH} cannot be read: {error!r}") from error
    finally:
        connection.close()


def refresh(host: Host, clock: Clock, connect: Connect) -> str:
    """Put the edge's ranges of today in force; returns what was done, in words."""
    received = host.read(places.SETTINGS)
    if received is None or not Settings.from_json(received).edge_ranges:
        return "this member has no edge"
    new = edge_ranges.parse(fetch(clock, connect))
    with only_one(host):
        old = edge_set.load(host)
        if old == new and host.read(edge_set.RULES) == edge_set.rules(new):
            return f"{len(new)} ranges, as before"
        if old is not None:
            edge_ranges.check_change(old, new)
        host.must("nft", "--check", "--file", "-", feed=edge_set.rules(new))
        edge_set.lay(host, new)
        host.must("nft", "--file", str(host.path(edge_set.RULES)))
        if units.active(host, nginx_process.UNIT):
            nginx_process.reload_gently(host, clock, PATIENCE_SECONDS)
        edge_set.settle(host, new)
    return f"{len(new)} ranges in force"


def main() -> int:
    def connect() -> http.client.HTTPConnection:
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(SERVER, timeout=STEP_SECONDS, context=context)

    try:
        print(refresh(Host(), Clock(), connect))
    except (ConfigError, MachineError, OSError, UnbelievableError) as error:
        print(f"flotilla-edge-ranges: the last good ranges stay in force: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
