"""The README's commands, run in order as a newcomer would, on a checkout of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.newcomer import ROOT, blocks, newcomer

# Run by .ci/run around this very test.
_AROUND_US = "make test"

pytestmark = [pytest.mark.machines, pytest.mark.documents, pytest.mark.timeout(900)]


def test_every_command_works_and_the_page_answers(tmp_path: Path) -> None:
    with newcomer(tmp_path) as person:
        start, *rest = blocks((ROOT / "README.md").read_text())
        assert start == "make up\nmake down\n"
        line = person.run("make up").strip().splitlines()[-1].strip()
        assert line.startswith("curl ")
        first, second = (_visits(person.run(f"{line} -H 'Accept: application/json'")) for _ in range(2))
        assert second == first + 1
        person.run("\n".join(block for block in rest if block.strip() != _AROUND_US))
        person.run("make down")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert f"{_AROUND_US}\n" in blocks((ROOT / "README.md").read_text())
    assert _AROUND_US in (ROOT / ".ci" / "run").read_text()


def _visits(answer: str) -> int:
    found = re.search(r'"visits": ?(\d+)', answer)
    assert found, answer
    return int(found[1])
