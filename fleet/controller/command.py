"""`fleet` on the autoscaler node: what the controller says, and what it is told. The operator's desk runs it by SSH."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fleet.config import CONTROLLER_CONFIG, Settings
from fleet.controller import journal, memory, metrics, orders, shared_orders
from fleet.controller.codec import encode
from fleet.controller.config import ControllerConfig
from fleet.controller.loop import LOG
from fleet.controller.model import Hold, Orders
from fleet.datastore_s3 import Bucket, StoreError
from fleet.errors import FleetError
from fleet.machine import places
from fleet.machine.datastore_command import bucket_of
from fleet.machine.host import Host, MachineError
from fleet.reading import ConfigError

STATE: Final = Path("/var/lib/flotilla/controller")
CONFIG: Final = Path("/etc/flotilla/current/secrets") / CONTROLLER_CONFIG
MAX_SCALE: Final = 1000  # fleet/controller/config.py
LINES: Final = 50


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = given.run
    try:
        run(given)
    except (FleetError, ConfigError, OSError) as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fleet", description=__doc__.splitlines()[0])
    parser.add_argument("--state", type=Path, default=STATE, help=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, default=CONFIG, help=argparse.SUPPRESS)
    parser.add_argument("--by", default=f"{getpass.getuser()} on the node", help="who orders it")
    commands = parser.add_subparsers(required=True)
    scale = commands.add_parser("scale", help="so many members from now on")
    scale.add_argument("members", type=_members, help="a number, or `auto` for schedules and load")
    scale.set_defaults(run=_scale)
    freeze = commands.add_parser("freeze", help="nothing is created, repaired or destroyed any more")
    freeze.add_argument("--reason", default="")
    freeze.add_argument("--hours", type=float, help="for so long; absent: until `fleet unfreeze`")
    freeze.set_defaults(run=_freeze)
    unfreeze = commands.add_parser("unfreeze", help="the controller works again")
    unfreeze.set_defaults(run=_unfreeze)
    restore = commands.add_parser("restore", help="orders of the node before, for a node that has none")
    restore.set_defaults(run=_restore)
    log = commands.add_parser("log", help="what it did, and why")
    log.add_argument("--lines", type=int, default=LINES)
    log.add_argument("--json", action="store_true")
    log.set_defaults(run=_log)
    status = commands.add_parser("status", help="how the fleet stands, as the controller sees it")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_status)
    return parser


def _members(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SCALE:
        raise argparse.ArgumentTypeError(f"{text!r} is neither `auto` nor a number from 1 to {MAX_SCALE}")
    return int(text)


def _scale(given: argparse.Namespace) -> None:
    if given.members is not None:
        _within_limits(given.config, given.members)
    told = f"scale {given.members or 'auto'}"
    _order(given, orders.scaled(_orders(given.state), given.members, time.time()), told)
    print("automatic again" if given.members is None else f"{given.members} members are wanted now")


def _freeze(given: argparse.Namespace) -> None:
    until = None if given.hours is None else time.time() + given.hours * 3600
    hold = Hold(owner=given.by, reason=given.reason, until=until)
    wanted = orders.frozen(_orders(given.state, otherwise=Orders()), hold, time.time())
    _order(given, wanted, f"freeze: {given.reason}")
    print("frozen" + (f" until {_stamp(until)}" if until is not None else ""))


def _unfreeze(given: argparse.Namespace) -> None:
    _order(given, orders.released(_orders(given.state, otherwise=Orders()), time.time()), "unfreeze")
    print("the controller works again")


def _orders(state: Path, otherwise: Orders | None = None) -> Orders:
    """What was ordered before; `otherwise` where that is not known and is written over."""
    found = memory.read_orders(state) or otherwise
    if found is None:
        raise FleetError(
            f"{state / memory.ORDERS} is missing or cannot be read, so everything is held; `fleet unfreeze` makes a new one"
        )
    return found


def _within_limits(path: Path, members: int) -> None:
    """Raises FleetError for a number that the controller would not follow."""
    config = ControllerConfig.from_json(path.read_bytes())
    most = max(config.count, config.max)
    if not config.count <= members <= most:
        raise FleetError(
            f"{members} members were asked for; there can be {config.count} (web.count) to {most} (autoscaler.max)"
        )


def _order(given: argparse.Namespace, wanted: Orders, told: str) -> None:
    """Written for the controller, which runs as a user of its own; the log tells who ordered what."""
    state: Path = given.state
    memory.write_orders(state, wanted)
    journal.append(state / LOG, [journal.Line(time.time(), "order", given.by, told)])
    owner = state.stat()
    for name in (memory.ORDERS, LOG):
        os.chown(state / name, owner.st_uid, owner.st_gid)
    try:
        with _store() as store:
            if store is not None:
                shared_orders.publish(store, wanted)
    except (StoreError, MachineError) as error:
        print(f"warning: in force here, but a new node would not know of it: {error}", file=sys.stderr)


def _restore(given: argparse.Namespace) -> None:
    """Before the controller's first start on a node."""
    state: Path = given.state
    try:
        with _store() as store:
            print(shared_orders.restore(store, state))
    except MachineError as error:
        print(f"warning: earlier orders are not looked for: {error}", file=sys.stderr)
    if (state / memory.ORDERS).exists():
        owner = state.stat()
        os.chown(state / memory.ORDERS, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _store() -> Iterator[Bucket | None]:
    """The stack's datastore, None for a stack without one."""
    host = Host()
    text = host.read(places.SETTINGS)
    if text is None or Settings.from_json(text).datastore is None:
        yield None
        return
    with bucket_of(host) as bucket:
        yield bucket


def _log(given: argparse.Namespace) -> None:
    for line in journal.tail(given.state / LOG, given.lines):
        print(json.dumps(line) if given.json else "{at}  {kind:<7} {about}: {text}".format_map(line))


def _status(given: argparse.Namespace) -> None:
    document = _told(given.state)
    print(json.dumps(document) if given.json else "\n".join(lines(document, time.time())))


def _told(state: Path) -> dict[str, Any]:
    """What the controller wrote after its last pass, with the orders as they are now."""
    try:
        document: dict[str, Any] = json.loads((state / metrics.STATUS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise FleetError(
            "the controller has not finished a pass yet; see `journalctl -u flotilla-controller`"
        ) from error
    return {**document, "orders": encode(memory.read_orders(state))}


def lines(document: dict[str, Any], now: float) -> list[str]:
    """The status for people."""
    figures = document["figures"]
    told = ", ".join(
        f"{figures[name]} {name}" for name in ("wanted", "serving", "burst", "broken", "ejected")
    )
    age = now - document["at"]
    text = [f"controller: {told} ({age:.0f} s ago)"]
    if figures["breaker"]:
        text.append("controller: too many look broken at once, so nothing is repaired")
    text += [f"controller: {line}" for line in _switches(document["orders"])]
    text += [f"controller: {each['about']}: {each['text']}" for each in document["reasons"]]
    text += [f"controller: at work on {each}" for each in document["under_way"]]
    text += [f"controller: warning: {each}" for each in (*document["warnings"], *document["complaints"])]
    if document["held"]:
        text.append(f"controller: held: {document['held']}")
    return text


def _switches(said: dict[str, Any] | None) -> list[str]:
    if said is None:
        return ["the operators' orders cannot be read, so everything is held"]
    text = [f"{said['scale']} members by order"] if said["scale"] is not None else []
    for switch in ("create", "destroy"):
        if hold := said[switch]:
            until = f" until {_stamp(hold['until'])}" if hold["until"] is not None else ""
            text.append(f"{switch} is held by {hold['owner']}{until}: {hold['reason'] or 'no reason given'}")
    return text


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


if __name__ == "__main__":
    sys.exit(main())
