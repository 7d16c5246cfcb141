"""Which machines to believe in, whatever the datastore says: property tests with a store that lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.datastore import MAX_RECORDS, Record, RecordError, record_key
from fleet.datastore_s3 import Listed, Listing, StoreError
from fleet.machine.datastore_view import TOLD, Known, UnbelievableError, View, look

NETWORK = "10.20.0.0/20"
NOW = 1_800_000_000.0
OWN = Record(
    role="web",
    name="web-1-3fa2c1b",
    address="198.18.0.1",
    private_address="10.20.0.2",
    at="2026-11-21T18:00:00+00:00",
    image="8ca1f0",
    release="v1",
)
OTHER = replace(OWN, name="web-2-3fa2c1b", private_address="10.20.0.3")


class Store:
    """Objects by key, each with its age in seconds."""

    def __init__(self, *records: Record) -> None:
        self.bodies = {record.key: record.to_json() for record in records}
        self.ages: dict[str, float] = {}

    def listing(self) -> Listing:
        objects = tuple(
            Listed(key, str(hash(body)), len(body), NOW - self.ages.get(key, 0.0))
            for key, body in sorted(self.bodies.items())
        )
        return Listing(objects, NOW, complete=True)

    def fetch(self, key: str) -> bytes:
        return self.bodies[key]

    def look(self, before: View | None = None) -> View:
        return look(self.listing(), before.members if before else {}, OWN.key, NETWORK, self.fetch)


def addresses(view: View) -> set[str]:
    return {address for found in view.addresses().values() for address in found.values()}


def changed(**changes: Any) -> bytes:
    """OTHER's record with other values; None takes a key away."""
    document = {**json.loads(OTHER.to_json()), **changes}
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def test_a_record_survives_json() -> None:
    assert Record.from_json(OWN.key, OWN.to_json()) == OWN
    assert json.loads(OWN.to_json()) == {"version": 1, **asdict(OWN)}


def test_keys_of_a_later_program_are_passed_over() -> None:
    assert Record.from_json(OTHER.key, changed(slot="web-2")) == OTHER


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON"),
    "binary": (b"\x00\xff", "not JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "deep": (b"[" * 4000, "not JSON"),
    "a key twice": (b'{"version": 1, "version": 1}', "same key twice"),
    "a future version": (changed(version=2), "its version is 2; this program reads version 1"),
    "version true": (changed(version=True), "its version is True"),
    "no version": (changed(version=None), "its version is None"),
    "another machine's": (OWN.to_json(), "it is about 'web' 'web-1-3fa2c1b'"),
    "another role's": (changed(role="database"), "it is about 'database'"),
    "outside the VPC": (changed(private_address="10.21.0.3"), "10.21.0.3 is not inside this stack's network"),
    "IPv6": (changed(private_address="2001:db8::1"), "is not inside this stack's network"),
    "no address": (changed(private_address=""), "its private_address is '', not an IP address"),
    "a number": (changed(private_address=167772162), "its private_address is 167772162, not a text"),
    "rules": (changed(private_address="10.20.0.3 }; flush ruleset"), "not an IP address"),
    "a range": (changed(private_address="10.20.0.0/20"), "not an IP address"),
    "no time": (changed(at="yesterday"), "its at is 'yesterday', not a time"),
    "no zone": (changed(at="2026-11-21T18:00:00"), "no time zone"),
    "a path": (changed(release="../x"), "its release is '../x'"),
    "too long": (changed(extra="x" * 5000), "and a record at most 4096"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_told_and_what_it_said_last_counts_on(name: str) -> None:
    body, message = BROKEN[name]
    store = Store(OWN, OTHER)
    before = store.look()
    store.bodies[OTHER.key] = body
    view = store.look(before)
    assert view.members == before.members
    assert len(view.complaints) == 1
    assert OTHER.key in view.complaints[0]
    assert message in view.complaints[0]
    assert view.complaints[0].endswith("it stays at 10.20.0.3")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_of_a_machine_that_was_never_known_adds_nothing(name: str) -> None:
    store = Store(OWN)
    store.bodies[OTHER.key] = BROKEN[name][0]
    assert addresses(store.look()) == {"10.20.0.2"}


@pytest.mark.parametrize(
    "key",
    ["ips/web", "ips/web/", "ips/web/a/b", "ips/WEB/a", "ips/web/A", "ips/../x", "ips/web/-a", "ips/web/a\n"],
)
def test_foreign_objects_are_told_and_passed_over(key: str) -> None:
    store = Store(OWN)
    store.bodies[key] = OTHER.to_json()
    view = store.look()
    assert (addresses(view), len(view.complaints)) == ({"10.20.0.2"}, 1)
    assert "its key is not ips/<role>/<name>" in view.complaints[0]
    assert "\n" not in view.complaints[0]


def test_what_nobody_writes_any_more_is_gone() -> None:
    store = Store(OWN, OTHER)
    before = store.look()
    store.ages[OTHER.key] = 300
    assert store.look(before) == before
    store.ages[OTHER.key] = 301
    assert addresses(store.look(before)) == {"10.20.0.2"}


def test_what_was_written_in_the_future_is_told() -> None:
    store = Store(OWN, OTHER)
    store.ages[OTHER.key] = -3600
    view = store.look()
    assert addresses(view) == {"10.20.0.2"}
    assert "the store wrote it 3600 s after now" in view.complaints[0]


def test_an_object_that_is_as_before_is_not_read_again() -> None:
    store = Store(OWN, OTHER)
    before = store.look()
    store.fetch = lambda key: pytest.fail(f"{key} was read")  # type: ignore[method-assign]
    assert store.look(before) == before


def test_an_object_that_cannot_be_had_stays_as_it_was() -> None:
    store = Store(OWN, OTHER)
    before = store.look()
    store.bodies[OTHER.key] = replace(OTHER, release="v2").to_json()

    def away(key: str) -> bytes:
        raise StoreError("503 SlowDown")

    store.fetch = away  # type: ignore[method-assign]
    view = store.look(before)
    assert view.members == before.members
    assert "503 SlowDown; it stays at 10.20.0.3" in view.complaints[0]


def test_an_empty_list_or_one_without_this_machine_is_none() -> None:
    with pytest.raises(UnbelievableError, match="lists 0 objects and ips/web/web-1-3fa2c1b is not among"):
        Store().look()
    with pytest.raises(UnbelievableError, match="lists 1 objects"):
        Store(OTHER).look()


def test_a_huge_list_is_none() -> None:
    many = [replace(OWN, name=f"web-{number}") for number in range(MAX_RECORDS)]
    with pytest.raises(UnbelievableError, match="lists more than 2000 objects"):
        Store(OWN, *many).look()
    listing = replace(Store(OWN).listing(), complete=False)
    with pytest.raises(UnbelievableError, match="more than"):
        look(listing, {}, OWN.key, NETWORK, lambda _: b"")


def test_many_complaints_are_counted_and_not_all_told() -> None:
    store = Store(OWN)
    store.bodies |= {record_key("web", f"web-{number}"): b"" for number in range(100)}
    view = store.look()
    assert len(view.complaints) == TOLD + 1
    assert view.complaints[-1] == "and 90 more objects are passed over"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(["version", "role", "name", "address", "private_address", "at", "image", "release"]), JSON
)
BODIES = st.one_of(
    st.binary(max_size=60),
    JSON.map(lambda value: json.dumps(value).encode()),
    FIELDS.map(lambda fields: changed(**fields)),
    st.ip_addresses().map(lambda address: changed(private_address=str(address))),
    st.sampled_from([OTHER.to_json(), replace(OTHER, private_address="10.20.0.9").to_json()]),
)
KEYS = st.sampled_from([OTHER.key, OWN.key, "ips/web/web-3", "ips/database/x", "ips/", "ips/web/"]) | st.text(
    max_size=30
)
AGES = st.sampled_from([0.0, 299.0, 301.0, 1e9, -299.0, -301.0]) | st.floats(allow_nan=False)
OBJECTS = st.lists(st.tuples(KEYS, BODIES, AGES, st.booleans()), max_size=6)


@given(BODIES | st.binary(max_size=300))
def test_a_record_is_read_or_refused_and_nothing_else(body: bytes) -> None:
    with suppress(RecordError):
        Record.from_json(OTHER.key, body)


@given(st.lists(OBJECTS, max_size=4))
def test_no_list_brings_in_a_stranger_or_loses_a_machine_that_is_well(lists: list[Any]) -> None:
    """The invariants of the reader over several lists in a row, each the work of a store that may lie."""
    before: dict[str, Known] = {}
    for objects in lists:
        listing, fetch = _served(objects)
        try:
            view = look(listing, before, OWN.key, NETWORK, fetch)
        except UnbelievableError:
            continue
        listed = {each.key: each for each in listing.objects}
        assert set(view.members) <= set(listed)
        assert all(address.startswith("10.20.") for address in addresses(view))
        assert all(known.record.key == key for key, known in view.members.items())
        kept = {key for key in before if key in listed and -300 <= NOW - listed[key].modified <= 300}
        assert kept <= set(view.members)
        before = dict(view.members)


@given(st.lists(OBJECTS, max_size=3), st.lists(st.integers(2, 60), unique=True, max_size=8))
def test_one_look_at_a_store_that_is_well_again_mends_everything(
    lists: list[Any], numbers: list[int]
) -> None:
    before: dict[str, Known] = {}
    for objects in lists:
        listing, fetch = _served(objects)
        with suppress(UnbelievableError):
            before = dict(look(listing, before, OWN.key, NETWORK, fetch).members)
    records = [
        OWN,
        *(replace(OWN, name=f"web-{number}", private_address=f"10.20.0.{number}") for number in numbers),
    ]
    view = Store(*records).look(View(before))
    assert view.complaints == ()
    assert {key: known.record for key, known in view.members.items()} == {
        record.key: record for record in records
    }


def _served(objects: list[tuple[str, bytes, float, bool]]) -> tuple[Listing, Callable[[str], bytes]]:
    bodies = {key: body for key, body, _, _ in objects}
    away = {key for key, _, _, there in objects if not there}
    ages = {key: age for key, _, age, _ in objects}

    def fetch(key: str) -> bytes:
        if key in away:
            raise StoreError("away")
        return bodies[key]

    listed = [Listed(key, f'"{hash(bodies[key])}"', len(bodies[key]), NOW - ages[key]) for key in bodies]
    return Listing(tuple(listed), NOW, complete=True), fetch
