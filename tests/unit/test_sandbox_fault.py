"""`python -m sandbox fault`: which machine is meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox.client import Control
from sandbox.lifecycle import SandboxError
from sandbox.paths import SandboxPaths


@dataclass(frozen=True, slots=True)
class Recorded(Control):
    """A control API that has three machines and keeps what it is told."""

    told: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def status(self) -> dict[str, Any]:
        droplets = [{"id": 11, "name": "web-1-aaaaaaa"}, {"id": 12, "name": "web-2-bbbbbbb"}]
        return {"droplets": droplets, "databases": [{"id": "c-1", "name": "database-ccccccc"}]}

    def post(self, path: str, body: dict[str, str]) -> None:
        self.told.append((path, body))


@pytest.fixture
def control(tmp_path: Path) -> Recorded:
    return Recorded("http://127.0.0.1:1", "token", SandboxPaths(tmp_path))


@pytest.mark.parametrize("name", ["web-2", "12", "web-2-bbbbbbb"])
def test_a_slot_a_number_or_a_whole_name_is_enough(control: Recorded, name: str) -> None:
    assert control.inflict(name, "kill") == "web-2-bbbbbbb"
    assert control.told == [("/machines/12/fault", {"kind": "kill"})]


def test_a_cluster_loses_its_primary(control: Recorded) -> None:
    control.inflict("database", "kill")
    assert control.told == [("/databases/c-1/fault", {"kind": "kill"})]


@pytest.mark.parametrize(("name", "names"), [("web", "web-1-aaaaaaa, web-2-bbbbbbb"), ("mail", "none")])
def test_what_is_not_one_machine_is_refused(control: Recorded, name: str, names: str) -> None:
    with pytest.raises(SandboxError, match=names):
        control.inflict(name, "kill")
    assert control.told == []
