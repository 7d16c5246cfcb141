"""The difference between wanted and existing cables, and the address plan."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.network.cables import Cable, Neighbour, Observed, difference, droplet_cables, fabric
from sandbox.network.plan import Plan, public_slice, public_slice6
from tests.topologies import droplet

PLAN = Plan(3, public_slice(3))
NOTHING = Observed(frozenset(), frozenset(), frozenset())


def _seen(*cables: Cable) -> Observed:
    """What is there once these cables are laid."""
    return Observed(
        namespaces=frozenset(cable.namespace for cable in cables if cable.namespace),
        ports=frozenset(cable.port for cable in cables),
        neighbours=frozenset(one for cable in cables for one in (cable.laid, cable.laid6) if one),
    )


def test_laid_cables_are_not_touched() -> None:
    cables = fabric(PLAN) + droplet_cables(PLAN, droplet(PLAN.public, 1))
    change = difference(PLAN, cables, _seen(*cables))
    assert change.cut == change.make == change.connect == ()


def test_new_droplet_gets_namespace_and_two_cables() -> None:
    change = difference(PLAN, droplet_cables(PLAN, droplet(PLAN.public, 1)), NOTHING)
    assert change.namespaces == ("fl3-d1",)
    assert [line.split()[2] for line in change.make] == ["pub1", "vpc1"]


def test_gone_droplet_is_taken_away() -> None:
    cables = fabric(PLAN)
    gone = droplet_cables(PLAN, droplet(PLAN.public, 1))
    change = difference(PLAN, cables, _seen(*cables, *gone))
    assert change.cut == ("link del pub1", "link del vpc1")
    assert change.unmake == ("netns del fl3-d1",)


def test_unfinished_cable_is_made_again() -> None:
    public, private = droplet_cables(PLAN, droplet(PLAN.public, 1))
    seen = _seen(public, private)
    half = Observed(seen.namespaces, seen.ports, seen.neighbours - {public.laid})
    change = difference(PLAN, [public, private], half)
    assert change.cut == ("link del pub1",)
    assert [line.split()[2] for line in change.make] == ["pub1"]


def test_changed_address_makes_the_cable_again() -> None:
    public, private = droplet_cables(PLAN, droplet(PLAN.public, 1))
    seen = _seen(public, private)
    moved = Neighbour(public.port, "198.18.48.99", public.mac)
    change = difference(
        PLAN, [public, private], Observed(seen.namespaces, seen.ports, frozenset({moved, private.laid}))
    )
    assert change.cut == ("link del pub1",)


def test_lost_namespace_is_made_again_with_its_cables() -> None:
    cables = droplet_cables(PLAN, droplet(PLAN.public, 1))
    seen = _seen(*cables)
    change = difference(PLAN, cables, Observed(frozenset(), seen.ports, seen.neighbours))
    assert change.cut == ("link del pub1", "link del vpc1")
    assert (len(change.namespaces), len(change.make)) == (1, 2)


def test_ipv6_comes_to_a_cable_in_use_without_touching_it() -> None:
    before = droplet_cables(PLAN, droplet(PLAN.public, 1))
    after = droplet_cables(PLAN, droplet(PLAN.public, 1, public6=PLAN.public6))
    change = difference(PLAN, after, _seen(*before))
    assert (change.cut, change.make, change.namespaces) == ((), (), ())
    assert [line.split()[:3] for line in change.connect] == [
        ["addr", "replace", "2001:db8:f103:1::1/128"],
        ["route", "replace", "2001:db8:f103:1::2/128"],
        ["neigh", "replace", "2001:db8:f103:1::2"],
    ]
    assert difference(PLAN, after, _seen(*after)).connect == ()


def test_longest_names_fit_the_kernel() -> None:
    cables = droplet_cables(Plan(31, public_slice(31)), droplet(PLAN.public, 1))
    assert all(len(cable.port) <= 15 for cable in cables)
    assert len(f"pub{10**11}") <= 15  # droplet ids have nine digits today
    assert len(Plan(31, public_slice(31)).host_link) <= 15


def test_slices_are_apart() -> None:
    slices = [public_slice(number) for number in range(32)]
    assert str(slices[0]) == "198.18.0.0/20"
    assert str(slices[31]) == "198.19.240.0/20"
    slices6 = [public_slice6(number) for number in range(32)]
    assert (str(slices6[0]), str(slices6[31])) == ("2001:db8:f100::/48", "2001:db8:f11f::/48")
    assert not any(one.overlaps(other) for one in slices for other in slices if one is not other)


@pytest.mark.parametrize("number", [-1, 32])
@pytest.mark.parametrize("slicing", [public_slice, public_slice6])
def test_number_out_of_range_is_an_error(slicing: Callable[[int], object], number: int) -> None:
    with pytest.raises(ValueError, match=f"instance {number} is out of range"):
        slicing(number)
