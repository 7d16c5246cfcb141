"""The plan of a rollout in batches: from config and droplets alone, from wherever it was cut off."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fleet.batches import Batch, Plan, Setting, Stand, plan
from fleet.errors import FleetError

OLD, NEW, THIRD = "web-2026.11.20-aaaa", "web-2026.11.21-bbbb", "web-2026.11.22-cccc"


def stand(setting: Setting, running: str, count: int | None = None) -> Stand:
    """`running`: a letter for each slot: o(ld), n(ew), b(oth), or - for no droplet."""
    images = {"o": [OLD], "n": [NEW], "b": [OLD, NEW], "-": []}
    slots: Mapping[int, list[frozenset[str]]] = {
        number: [frozenset({image, f"4{images['b'].index(image)}"}) for image in images[letter]]
        for number, letter in enumerate(running, 1)
    }
    return Stand("prod", setting, count or len(running), slots)


def steps(found: Plan) -> list[tuple[str, int | None, str | None, str]]:
    """Image, through, rest, and the slots."""
    return [
        (batch.setting.image, batch.setting.through, batch.setting.rest, batch.slots)
        for batch in found.batches
    ]


def test_a_rollout_begins_with_the_first_slots_and_ends_without_a_trace_in_the_config() -> None:
    found = plan(stand(Setting(OLD), "ooooo"), NEW, 2)
    assert steps(found) == [
        (NEW, 2, OLD, "web-1 to web-2"),
        (NEW, 4, OLD, "web-3 to web-4"),
        (NEW, None, None, "web-5"),
    ]
    assert (found.image, found.back, found.resumed) == (NEW, OLD, False)


@pytest.mark.parametrize("size", [3, 4])
def test_a_batch_for_all_is_one_update(size: int) -> None:
    assert steps(plan(stand(Setting(OLD), "ooo"), NEW, size)) == [(NEW, None, None, "web-1 to web-3")]


@pytest.mark.parametrize("running", ["ooooo", "nnooo", "nnboo", "nnnno"])
@pytest.mark.parametrize("wanted", [NEW, None])
def test_cut_off_anywhere_it_goes_on_with_the_batch_it_was_at(running: str, wanted: str | None) -> None:
    found = plan(stand(Setting(NEW, 4, OLD), running), wanted, 2)
    assert steps(found) == [(NEW, 4, OLD, "web-3 to web-4"), (NEW, None, None, "web-5")]
    assert found.resumed


@pytest.mark.parametrize("running", ["nnnno", "nnnnb", "nnnnn"])
@pytest.mark.parametrize("wanted", [NEW, None])
def test_cut_off_in_the_last_update_it_is_done_again(running: str, wanted: str | None) -> None:
    found = plan(stand(Setting(NEW), running), wanted, 2)
    assert [step[:3] for step in steps(found)] == [(NEW, None, None)]
    assert found.resumed


def test_an_image_that_was_promoted_into_the_config_is_rolled_out_without_naming_it() -> None:
    found = plan(stand(Setting(NEW), "ooooo"), None, 2)
    assert steps(found)[0] == (NEW, 2, OLD, "web-1 to web-2")
    assert (found.back, found.resumed) == (OLD, False)
    assert steps(plan(stand(Setting(NEW), "nnooo"), None, 2)) == [
        (NEW, 4, OLD, "web-3 to web-4"),
        (NEW, None, None, "web-5"),
    ]


def test_back_from_the_middle_the_last_slots_go_first() -> None:
    found = plan(stand(Setting(NEW, 5, OLD), "nnnnboo"), OLD, 2)
    assert steps(found) == [
        (NEW, 3, OLD, "web-4 to web-5"),
        (NEW, 1, OLD, "web-2 to web-3"),
        (OLD, None, None, "web-1"),
    ]
    assert [batch.to for batch in found.batches] == [OLD, OLD, OLD]
    assert (found.image, found.back, found.resumed) == (OLD, NEW, True)


def test_back_is_cut_off_and_goes_on_by_the_same_command() -> None:
    assert steps(plan(stand(Setting(NEW, 1, OLD), "nboo"), OLD, 2)) == [(OLD, None, None, "web-1")]
    # Between the last two changes of the config.
    assert steps(plan(stand(Setting(OLD, 1, OLD), "nooo"), OLD, 2)) == [(OLD, None, None, "web-1 to web-4")]
    assert steps(plan(stand(Setting(OLD), "nooo"), OLD, 2)) == [(OLD, None, None, "web-1 to web-4")]


def test_back_after_the_end_is_a_rollout_like_any_other() -> None:
    assert steps(plan(stand(Setting(NEW), "nnn"), OLD, 2))[0] == (OLD, 2, NEW, "web-1 to web-2")


def test_a_mended_image_takes_the_place_of_one_that_failed_in_the_first_batch() -> None:
    found = plan(stand(Setting(NEW, 2, OLD), "boooo"), THIRD, 2)
    assert steps(found)[0] == (THIRD, 2, OLD, "web-1 to web-2")


def test_another_image_in_the_middle_is_refused_with_both_ways() -> None:
    with pytest.raises(FleetError) as raised:
        plan(stand(Setting(NEW, 4, OLD), "nnnno"), THIRD, 2)
    assert f"rollout of {NEW}, up to web-4, with {OLD} on the others" in str(raised.value)
    assert f"finish it with --resume or go back with --image {OLD}" in str(raised.value)


def test_members_that_do_not_run_what_their_config_says_are_mended_first() -> None:
    with pytest.raises(
        FleetError, match=rf"web-2 does not run {OLD}, which web.image .*fleet recover -s prod"
    ):
        plan(stand(Setting(OLD), "obo"), THIRD, 1)


def test_a_mix_that_no_rollout_in_batches_made_is_refused() -> None:
    with pytest.raises(FleetError, match=r"run a mix of images .* replaces 3 of them in one update"):
        plan(stand(Setting(NEW), "onoo"), None, 2)


def test_a_stack_that_was_never_up_is_one_update() -> None:
    assert steps(plan(stand(Setting(NEW), "---"), None, 1)) == [(NEW, None, None, "web-1 to web-3")]


def test_members_taken_away_in_the_middle_end_the_rollout() -> None:
    assert steps(plan(stand(Setting(NEW, 3, OLD), "nnno", count=3), None, 1)) == [
        (NEW, None, None, "web-1 to web-3")
    ]


def test_an_image_may_be_named_by_its_number() -> None:
    assert steps(plan(stand(Setting("40"), "ooo"), "41", 2))[0] == ("41", 2, "40", "web-1 to web-2")
    assert plan(stand(Setting("41"), "ooo"), None, 2).back == OLD


def test_a_batch_names_its_slots() -> None:
    assert Batch(Setting(NEW), 3, 3, NEW).slots == "web-3"
