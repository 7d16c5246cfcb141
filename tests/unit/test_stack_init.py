"""What `fleet init` checks and how it drops secrets that nobody can open."""

from __future__ import annotations

import pytest

from fleet import stack_init
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.stack_init import check_name, without_secrets


@pytest.mark.parametrize("name", ["dev", "prod", "a", "eu-1"])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "Dev", "-dev", "dev-", "a_b", "a.b", "org/dev", "x" * 41])
def test_names_that_cannot_be_tags_are_refused(name: str) -> None:
    with pytest.raises(FleetError, match="cannot be a stack's name"):
        check_name(name)


def test_a_new_seed_is_one_that_an_identity_takes() -> None:
    first, second = stack_init.new_seed(), stack_init.new_seed()
    assert first != second
    assert Identity.from_seed(first).password("x") != Identity.from_seed(second).password("x")


def test_secrets_are_dropped_and_all_else_stays_as_written() -> None:
    text = (
        "encryptionsalt: v1:abc=:v1:def\n"
        "# the dev stack\n"
        "config:\n"
        "  flotilla:domain: www.foobar.com  # the site\n"
        "  flotilla:seed:\n"
        "    secure: v1:secret\n"
        "  flotilla:web:\n"
        "    count: 1\n"
    )
    kept, dropped = without_secrets(text)
    assert kept == (
        "# the dev stack\n"
        "config:\n"
        "  flotilla:domain: www.foobar.com  # the site\n"
        "  flotilla:web:\n"
        "    count: 1\n"
    )
    assert dropped == ["encryptionsalt", "flotilla:seed"]


def test_a_file_without_secrets_stays_as_it_is() -> None:
    text = "config:\n  flotilla:web:\n    count: 1\n"
    assert without_secrets(text) == (text, [])
