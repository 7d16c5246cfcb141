"""The sandbox's memory."""

from pathlib import Path

import pytest

from sandbox.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cloud.sqlite")


def test_documents_keep_the_order_they_were_first_put(store: Store) -> None:
    for key in ("b", "a", "b"):
        store.put("thing", key, {"key": key})
    assert [document["key"] for document in store.all("thing")] == ["b", "a"]


def test_put_is_seen_by_another_connection(store: Store, tmp_path: Path) -> None:
    store.put("thing", 1, {"n": 1})
    assert Store(tmp_path / "cloud.sqlite").get("thing", "1") == {"n": 1}


def test_failed_transaction_changes_nothing(store: Store) -> None:
    store.put("thing", 1, {"n": 1})

    def change_and_fail() -> None:
        with store.transaction():
            store.put("thing", 1, {"n": 2})
            store.delete("thing", 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_and_fail()
    assert store.all("thing") == [{"n": 1}]


def test_delete_says_whether_there_was_something(store: Store) -> None:
    store.put("thing", 1, {})
    assert (store.delete("thing", 1), store.delete("thing", 1)) == (True, False)


def test_numbers_are_never_handed_out_twice(store: Store, tmp_path: Path) -> None:
    first = [store.next_number("droplet", first=7), store.next_number("droplet", first=7)]
    store.close()
    assert [*first, Store(tmp_path / "cloud.sqlite").next_number("droplet")] == [7, 8, 9]


def test_watcher_hears_once_per_commit_of_what_changed(store: Store) -> None:
    heard: list[frozenset[str]] = []
    store.watch(heard.append)
    with store.transaction():
        store.put("record", 1, {})
        store.put("zone", 1, {})
    store.delete("record", 2)
    assert heard == [frozenset({"record", "zone"})]


def test_watcher_hears_nothing_of_what_was_rolled_back(store: Store) -> None:
    heard: list[frozenset[str]] = []
    store.watch(heard.append)

    def change_and_fail() -> None:
        with store.transaction():
            store.put("record", 1, {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_and_fail()
    store.put("zone", 1, {})
    assert heard == [frozenset({"zone"})]
