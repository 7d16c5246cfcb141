"""What operators can order: both switches off and on again, and a number of members."""

from __future__ import annotations

from dataclasses import replace

from fleet.controller.model import CREATING, DESTROYING, Action, Hold, Orders

UNREADABLE = Hold(owner="controller", reason="the operators' orders are missing or cannot be read")


def frozen(orders: Orders, hold: Hold, now: float) -> Orders:
    """Nothing is created or destroyed any more."""
    return replace(orders, create=hold, destroy=hold, changed=now)


def released(orders: Orders, now: float) -> Orders:
    return replace(orders, create=None, destroy=None, changed=now)


def scaled(orders: Orders, members: int | None, now: float) -> Orders:
    """So many members from now on; None: as schedules and load say."""
    return replace(orders, scale=members, changed=now)


def held(orders: Orders | None, action: Action, now: float) -> Hold | None:
    """The switch that forbids an action now. `now`: Unix seconds."""
    if orders is None:
        return UNREADABLE
    switches = [
        hold
        for hold, kinds in ((orders.create, CREATING), (orders.destroy, DESTROYING))
        if hold is not None and isinstance(action, kinds)
    ]
    return next((hold for hold in switches if in_force(hold, now)), None)


def in_force(hold: Hold | None, now: float) -> bool:
    """Whether a switch is off."""
    return hold is not None and (hold.until is None or now < hold.until)
