"""docs/ownership.md and the tests that it names, held against each other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ownership.md").read_text()
TESTS = Path(__file__).with_name("test_ownership.py").read_text()


def test_every_interleaving_is_proven_and_every_proof_is_told() -> None:
    assert set(re.findall(r"`(test_\w+)`", PAGE)) == set(re.findall(r"^def (test_\w+)", TESTS, re.MULTILINE))
