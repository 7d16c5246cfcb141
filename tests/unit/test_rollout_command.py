"""`fleet rollout`: config before each update, and what is said when one fails or is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from fleet import rollout
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError, StoppedError
from fleet.pulumi_cli import Project, PulumiCli
from fleet.rollout import Runs, Wanted
from tests.unit.test_canary_command import ListedCloud, droplet

OLD, NEW = "web-2026.11.21-3f2a", "web-2026.11.22-77c0"


class MemoryPulumi:
    """A stack's web config in memory, and what it was at each update."""

    def __init__(self) -> None:
        self.project = Project(Path(), "flotilla")
        self.web: dict[str, Any] = {"count": 3, "image": OLD}

    def config(self, _: str) -> dict[str, Any]:
        return {"flotilla:web": self.web, "flotilla:cloud": {"region": "lon1"}}

    def set_configs(self, _: str, values: dict[str, str]) -> None:
        for path, value in values.items():
            match path.removeprefix("flotilla:web."):
                case "image":
                    self.web["image"] = value
                case "rollout.partial.through":
                    self._partial["through"] = int(value)
                case "rollout.partial.rest":
                    self._partial["rest"] = value

    def remove_config(self, _: str, path: str) -> None:
        assert path == "flotilla:web.rollout.partial"
        self.web.get("rollout", {}).pop("partial", None)

    @property
    def _partial(self) -> dict[str, Any]:
        partial: dict[str, Any] = self.web.setdefault("rollout", {}).setdefault("partial", {})
        return partial

    @property
    def stands(self) -> tuple[object, ...]:
        partial = self.web.get("rollout", {}).get("partial", {})
        return self.web["image"], partial.get("through"), partial.get("rest")


class Account(ListedCloud):
    """Three members of the old image, and both images."""

    def every(self, _path: str, _key: str, **query: object) -> list[dict[str, Any]]:
        if _key != "images":
            return super().every(_path, _key, **query)
        return [
            {"id": n, "name": name, "slug": None, "regions": ["lon1"]} for n, name in enumerate((OLD, NEW))
        ]


ACCOUNT = cast(DigitalOcean, Account(*(droplet(f"web-{number}-3fa2c1b", number) for number in (1, 2, 3))))


def carry_out(pulumi: MemoryPulumi, wanted: Wanted, update: Callable[[], None]) -> list[str]:
    said: list[str] = []
    cli = cast(PulumiCli, pulumi)
    chosen = rollout.prepare(cli, ACCOUNT, wanted)
    rollout.carry_out(cli, wanted, chosen, Runs(update, lambda: said.append("recovered")), said.append)
    return said


def test_the_config_tells_before_each_update_where_the_rollout_stands() -> None:
    pulumi, seen = MemoryPulumi(), list[object]()
    said = carry_out(pulumi, Wanted("prod", 1, NEW), lambda: seen.append(pulumi.stands))
    assert seen == [(NEW, 1, OLD), (NEW, 2, OLD), (NEW, None, None)]
    assert pulumi.web == {"count": 3, "image": NEW, "rollout": {}}
    assert said[0] == f"batch 1 of 3: web-1 to {NEW}"
    assert said[1].startswith("batch 1 of 3: done in ")
    assert said[-1] == f"Every web member of stack prod runs {NEW}"


def test_a_failing_batch_stops_with_the_ways_on_and_the_config_at_that_batch() -> None:
    pulumi, runs = MemoryPulumi(), list[int]()

    def update() -> None:
        runs.append(1)
        if len(runs) == 2:
            raise FleetError("`pulumi up` ended with 255; see above")

    with pytest.raises(rollout.BatchError) as raised:
        carry_out(pulumi, Wanted("prod", 1, NEW), update)
    assert pulumi.stands == (NEW, 2, OLD)
    for part in (
        f"batch 2 of 3 (web-2 to {NEW}) failed: `pulumi up` ended with 255; see above",
        "To go on: `fleet rollout -s prod --batch 1 --resume`",
        f"To go back to {OLD}: `fleet rollout -s prod --batch 1 --image {OLD}`",
    ):
        assert part in str(raised.value)
    said = carry_out(pulumi, Wanted("prod", 1), lambda: None)
    assert said[:2] == ["recovered", f"batch 1 of 2: web-2 to {NEW}"]


def test_a_stopped_batch_says_so_with_the_exit_code_of_an_interruption() -> None:
    def update() -> None:
        raise StoppedError("`pulumi up` was stopped")

    with pytest.raises(StoppedError, match=r"(?s)batch 1 of 3 .*To go on: ") as raised:
        carry_out(MemoryPulumi(), Wanted("prod", 1, NEW), update)
    assert raised.value.exit_code == 130


def test_an_image_that_does_not_exist_is_refused_before_anything_is_written() -> None:
    pulumi = MemoryPulumi()
    with pytest.raises(FleetError, match=r"there is no image web-2026\.11\.30-ffff in lon1"):
        carry_out(pulumi, Wanted("prod", 1, "web-2026.11.30-ffff"), lambda: None)
    assert pulumi.stands == (OLD, None, None)


STOPPABLE = """
import signal, sys
count = 0
def stop(*_):
    global count
    count += 1
    print("stopping", count, flush=True)
    sys.exit(7)
signal.signal(signal.SIGINT, stop)
print("running", flush=True)
signal.pause()
"""
DESK = """
import sys
from pathlib import Path
from fleet.errors import StoppedError
from fleet.pulumi_cli import Project, PulumiCli
try:
    PulumiCli(Project(Path.cwd(), "tiny")).show("up")
except StoppedError as error:
    print(error)
"""


def test_a_request_to_stop_reaches_the_engine_once_and_its_end_is_waited_for(tmp_path: Path) -> None:
    pulumi = tmp_path / "pulumi"
    pulumi.write_text(f"#!{sys.executable}\n{STOPPABLE}")
    pulumi.chmod(0o755)
    root = Path(__file__).resolve().parents[2]
    desk = subprocess.Popen(
        [sys.executable, "-c", DESK],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert desk.stdout is not None
    assert desk.stdout.readline() == "running\n"
    # As a terminal does: to the whole foreground group.
    os.killpg(desk.pid, signal.SIGINT)
    assert desk.stdout.read() == "stopping 1\n`pulumi up` was stopped; it ended with 7\n"
    desk.stdout.close()
    assert desk.wait(20) == 0
