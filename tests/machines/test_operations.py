"""The commands of docs/operations.md, run in order on the prod stack, on a checkout of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.newcomer import ROOT, blocks, newcomer

_SECONDS = 1500

pytestmark = [pytest.mark.machines, pytest.mark.timeout(_SECONDS)]


def test_every_command_of_an_operator_works_on_prod(tmp_path: Path) -> None:
    with newcomer(tmp_path) as person:
        person.run("\n".join(blocks((ROOT / "docs" / "operations.md").read_text())), seconds=_SECONDS)
