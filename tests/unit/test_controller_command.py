"""`fleet` on the autoscaler node, and the desk's commands that run it there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fleet import cli, ssh
from fleet.config import DatastoreSettings, Settings
from fleet.controller import command, memory, metrics, shared_orders
from fleet.controller.model import Hold, Orders
from fleet.datastore_s3 import AbsentError, StoreError
from fleet.desk import controller as desk
from fleet.errors import FleetError
from fleet.machine import places
from tests.small_s3 import KEYS, small_s3
from tests.unit.fake_machine import FakeHost
from tests.unit.test_controller_config import config


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "controller"
    memory.begin(directory)
    (tmp_path / "controller.json").write_text(config().to_json())
    return directory


def run(state: Path, *arguments: str) -> int:
    given = ["--state", str(state), "--config", str(state.parent / "controller.json"), "--by", "alice@desk"]
    return command.main([*given, *arguments])


def said(state: Path) -> Orders:
    found = memory.read_orders(state)
    assert found is not None
    return found


def test_orders_are_written_with_who_gave_them(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(state, "scale", "4") == 0
    assert said(state).scale == 4
    assert run(state, "freeze", "--reason", "a look", "--hours", "2") == 0
    hold = said(state).destroy
    assert hold is not None
    assert said(state).create == hold
    assert (hold.owner, hold.reason, said(state).scale) == ("alice@desk", "a look", 4)
    assert hold.until is not None
    assert run(state, "unfreeze") == 0
    assert (said(state).create, said(state).destroy) == (None, None)
    assert run(state, "scale", "auto") == 0
    assert said(state).scale is None
    capsys.readouterr()
    assert run(state, "log") == 0
    told = [line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert told == ["scale 4", "freeze: a look", "unfreeze", "scale auto"]


@pytest.mark.parametrize("members", ["1", "6"])
def test_a_number_beyond_the_limits_is_refused(
    state: Path, members: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(state, "scale", members) == 1
    assert f"{members} members were asked for; there can be 2 (web.count) to 5" in capsys.readouterr().err
    assert said(state).scale is None


@pytest.mark.parametrize("members", ["0", "many", "-1", "1001"])
def test_what_is_no_number_of_members_is_refused(state: Path, members: str) -> None:
    with pytest.raises(SystemExit):
        run(state, "scale", members)


def test_orders_that_cannot_be_read_are_only_replaced_by_the_switches(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (state / memory.ORDERS).write_text("{")
    assert run(state, "scale", "4") == 1
    assert "everything is held; `fleet unfreeze` makes a new one" in capsys.readouterr().err
    assert memory.read_orders(state) is None
    assert run(state, "unfreeze") == 0
    assert said(state).create is None


def test_the_status_tells_switches_reasons_and_warnings(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(state, "status") == 1
    assert "has not finished a pass yet" in capsys.readouterr().err
    figures = {"wanted": 3, "serving": 2, "burst": 1, "broken": 0, "ejected": 0, "breaker": True}
    document: dict[str, Any] = {
        "at": 0.0,
        "figures": figures,
        "reasons": [{"about": "web-1", "text": "closed for 3 s"}],
        "complaints": [],
        "warnings": ["the cloud token lacks droplet:delete"],
        "under_way": ["prepare burst-1"],
        "held": "",
    }
    (state / metrics.STATUS).write_text(json.dumps(document))
    run(state, "freeze", "--reason", "a look")
    capsys.readouterr()
    assert run(state, "status") == 0
    shown = capsys.readouterr().out
    for part in (
        "3 wanted, 2 serving, 1 burst",
        "too many look broken at once",
        "create is held by alice@desk: a look",
        "web-1: closed for 3 s",
        "at work on prepare burst-1",
        "warning: the cloud token lacks droplet:delete",
    ):
        assert part in shown
    assert run(state, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["figures"] == figures


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the node was told to run; it answers `done`."""
    ran: list[str] = []

    async def run(_: ssh.Target, line: str) -> ssh.Result:
        ran.append(line)
        return ssh.Result(2 if "scale 9" in line else 0, "done\n")

    monkeypatch.setattr(desk, "_run", run)
    monkeypatch.setattr(desk, "_target", lambda _: ssh.Target("198.18.0.9", "key", private_key="key"))
    return ran


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["scale", "4"], ["scale", "4"]),
        (["scale", "--auto"], ["scale", "auto"]),
        (["freeze", "--reason", "it's; rm -rf /"], ["freeze", "--reason", "it's; rm -rf /"]),
        (["freeze", "--reason", "x", "--hours", "1.5"], ["freeze", "--reason", "x", "--hours", "1.5"]),
        (["unfreeze"], ["unfreeze"]),
        (["log", "--lines", "5"], ["log", "--lines", "5"]),
    ],
)
def test_the_desk_runs_the_same_on_the_node(node: list[str], typed: list[str], told: list[str]) -> None:
    done = CliRunner().invoke(cli.app, [*typed, "--stack", "prod"])
    assert done.exit_code == 0, done.output
    program, by, _, *rest = shlex.split(node[0])
    assert (program, by, rest) == (desk.PROGRAM, "--by", told)


def test_the_desk_says_why_the_node_refused(node: list[str]) -> None:
    done = CliRunner().invoke(cli.app, ["scale", "9", "--stack", "prod"])
    assert isinstance(done.exception, FleetError)
    assert "the autoscaler node of stack prod: done" in str(done.exception)
    assert CliRunner().invoke(cli.app, ["scale", "--stack", "prod"]).exit_code == 2
    assert CliRunner().invoke(cli.app, ["scale", "3", "--auto", "--stack", "prod"]).exit_code == 2


class MemoryStore:
    """A bucket in memory."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = dict(objects)

    def get(self, key: str, *, largest: int) -> tuple[bytes, str]:
        if key not in self.objects:
            raise AbsentError(key)
        return self.objects[key], "etag"

    def put(self, key: str, body: bytes) -> str:
        self.objects[key] = body
        return "etag"


class AwayStore(MemoryStore):
    def get(self, key: str, *, largest: int) -> tuple[bytes, str]:
        raise StoreError("the datastore is away")


HELD = Orders(create=Hold(owner="alice", reason="a look"), destroy=Hold(owner="alice"), scale=4, changed=7.0)


def test_a_new_node_has_the_orders_of_the_one_before(tmp_path: Path) -> None:
    store = MemoryStore()
    shared_orders.publish(store, HELD)
    assert "the node before" in shared_orders.restore(store, tmp_path)
    memory.begin(tmp_path)
    assert memory.read_orders(tmp_path) == HELD
    assert shared_orders.restore(MemoryStore(), tmp_path) == "this node has its orders"


@pytest.mark.parametrize("store", [None, MemoryStore()])
def test_a_first_node_begins_without_orders(tmp_path: Path, store: MemoryStore | None) -> None:
    shared_orders.restore(store, tmp_path)
    memory.begin(tmp_path)
    assert memory.read_orders(tmp_path) == Orders()


@pytest.mark.parametrize(
    "store",
    [
        AwayStore(),
        MemoryStore(**{shared_orders.KEY: b"{"}),
        MemoryStore(**{shared_orders.KEY: b'{"version":2}'}),
        MemoryStore(**{shared_orders.KEY: b'{"version":1,"surprise":1}'}),
    ],
    ids=["away", "broken", "future", "unknown"],
)
def test_a_node_that_cannot_know_holds_everything(tmp_path: Path, store: MemoryStore) -> None:
    assert shared_orders.restore(store, tmp_path).startswith(
        "everything is held: earlier orders cannot be read"
    )
    found = memory.read_orders(tmp_path)
    assert found is not None
    assert found.create == found.destroy is not None


def test_a_freeze_outlives_the_node_by_the_datastore(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real client and the node's own files, from one node to the next."""
    host = FakeHost(tmp_path / "root")
    monkeypatch.setattr(command, "Host", lambda: host)
    with small_s3() as s3:
        place = DatastoreSettings(endpoint=s3.place.endpoint, bucket=s3.place.bucket, region=s3.place.region)
        host.lay(places.SETTINGS, Settings(datastore=place).to_json())
        host.lay(f"{places.SECRETS}/datastore-access-key", KEYS.access)
        host.lay(f"{places.SECRETS}/datastore-secret-key", KEYS.secret)
        assert run(state, "freeze", "--reason", "a look") == 0
        assert list(s3.objects) == [shared_orders.KEY]
        again = tmp_path / "another"
        again.mkdir()
        assert run(again, "restore") == 0
        assert said(again) == said(state)
        s3.fault = lambda *_: (503, b"")
        capsys.readouterr()
        assert run(state, "unfreeze") == 0
        assert "a new node would not know of it" in capsys.readouterr().err
        assert said(state).create is None
