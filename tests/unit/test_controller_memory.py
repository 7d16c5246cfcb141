"""What the controller keeps on disk, and what it makes of files that it cannot read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.controller import journal, memory
from fleet.controller.model import (
    Clock,
    Decision,
    Delete,
    Doubt,
    Eject,
    Figures,
    Hold,
    Intent,
    Memory,
    Observation,
    Orders,
    Outcome,
    Reason,
    Record,
    Step,
    Track,
    Tried,
)

FULL = Memory(
    age=12.5,
    clock=Clock(wall=1e9, monotonic=5.25, boot="a"),
    serial=3,
    intents=(Intent("burst-1", "0123456", 11.0),),
    tracks={7: Track("web-1", 1.0, prepared=True, step=Step.CYCLED, bad_since=3.0), 8: Track("burst-2", 2.0)},
    known=frozenset({7, 8}),
    doubt=Doubt(4.0, frozenset({9})),
    tried={"delete 9": Tried(3.0, 2)},
    strays={"r": 2.0},
    destroyed=(1.0, 2.0),
    load=1.5,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
memories = st.builds(
    Memory,
    age=finite,
    clock=st.none() | st.builds(Clock, wall=finite, monotonic=finite, boot=st.text()),
    intents=st.lists(st.builds(Intent, st.text(), st.text(), finite)).map(tuple),
    tracks=st.dictionaries(
        st.integers(min_value=0), st.builds(Track, st.text(), finite, step=st.none() | st.sampled_from(Step))
    ),
    known=st.frozensets(st.integers()),
    tried=st.dictionaries(st.text(), st.builds(Tried, finite)),
    load=st.none() | finite,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(memories)
def test_every_memory_comes_back_as_it_was(tmp_path: Path, kept: Memory) -> None:
    memory.save(tmp_path, replace(kept, held=""))
    assert memory.load(tmp_path) == replace(kept, held="")


def test_a_controller_that_never_was_begins_empty_and_unheld(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    memory.begin(directory)
    assert memory.load(directory) == Memory()
    assert memory.read_orders(directory) == Orders()
    assert (directory / memory.ORDERS).stat().st_mode & 0o777 == 0o600


def test_orders_that_are_lost_hold_everything_however_often_it_starts(tmp_path: Path) -> None:
    memory.begin(tmp_path)
    memory.save(tmp_path, FULL)
    (tmp_path / memory.ORDERS).unlink()
    memory.begin(tmp_path)
    assert memory.read_orders(tmp_path) is None


def test_orders_come_back_as_they_were(tmp_path: Path) -> None:
    orders = Orders(create=Hold(owner="ann", reason="audit", until=5.0), scale=4, changed=9.5)
    memory.write_orders(tmp_path, orders)
    memory.begin(tmp_path)
    assert memory.read_orders(tmp_path) == orders


WHOLE = json.loads(memory.dumps(FULL))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        json.dumps({**WHOLE, "version": 2}).encode(),
        json.dumps({key: value for key, value in WHOLE.items() if key != "version"}).encode(),
        json.dumps({**WHOLE, "surprise": 1}).encode(),
        json.dumps({**WHOLE, "age": "old"}).encode(),
        json.dumps({**WHOLE, "age": True}).encode(),
        json.dumps({**WHOLE, "tracks": {"seven": WHOLE["tracks"]["7"]}}).encode(),
        json.dumps({**WHOLE, "tracks": {"7": {**WHOLE["tracks"]["7"], "step": "dance"}}}).encode(),
        json.dumps({**WHOLE, "intents": [{"slot": "burst-1"}]}).encode(),
        json.dumps(WHOLE).encode()[:-20],
        json.dumps(WHOLE).replace('"age": 12.5', '"age": NaN').encode(),
    ],
)
def test_a_memory_that_cannot_be_read_holds_and_is_left_as_it_is(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / memory.MEMORY
    path.write_bytes(broken)
    found = memory.load(tmp_path)
    assert str(path) in found.held
    memory.save(tmp_path, replace(found, age=5.0))
    assert path.read_bytes() == broken


@pytest.mark.parametrize(
    "broken", [b"", b"{", b'{"version": 2}', b'{"version": 1, "scale": "3"}', b'{"version": 1, "scael": 3}']
)
def test_orders_that_cannot_be_read_hold(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / memory.ORDERS).write_bytes(broken)
    assert memory.read_orders(tmp_path) is None


def test_a_write_that_was_cut_off_leaves_the_old_memory(tmp_path: Path) -> None:
    memory.save(tmp_path, FULL)
    (tmp_path / f".{memory.MEMORY}.new").write_text('{"version": 1, "age": 9')
    assert memory.load(tmp_path) == FULL
    memory.save(tmp_path, replace(FULL, age=13.0))
    assert memory.load(tmp_path).age == 13.0


def test_the_log_tells_news_once(tmp_path: Path) -> None:
    observation = Observation(
        clock=Clock(wall=1e9, monotonic=1.0, boot="a"),
        seed="",
        droplets=(),
        records=(),
        outcomes=(Outcome(Delete("burst-1", 5), "HTTP 500"),),
    )
    why, gone = Reason("web-2", "is silent"), Reason("web-3", "is silent")
    eject = Eject("web-2", (Record(id="r1", name="www.example.com", content="203.0.113.9"),))
    decision = Decision((eject,), Memory(), (why,), Figures())
    first = journal.news(observation, decision, (gone,))
    assert [(line.kind, line.about, line.text) for line in first] == [
        ("failed", "burst-1", "delete burst-1 droplet=5: HTTP 500"),
        ("over", "web-3", "is silent"),
        ("reason", "web-2", "is silent"),
        ("start", "web-2", "eject web-2 records=r1->203.0.113.9"),
    ]
    again = journal.news(replace(observation, outcomes=()), replace(decision, actions=()), (why,))
    assert again == []
    path = tmp_path / "log.jsonl"
    journal.append(path, first)
    with path.open("a") as file:
        file.write('{"at": "cut o')
    assert [line["kind"] for line in journal.tail(path, 3)] == ["reason", "start"]
    assert list(journal.tail(tmp_path / "none", 3)) == []
