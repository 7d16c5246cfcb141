"""What a machine does with its datastore: publish, look, and make packet filter and peers follow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.config import Inbound, MachineConfig
from fleet.datastore import RECORDS, Record
from fleet.datastore_s3 import StoreError
from fleet.machine import address, datastore_memory, datastore_publish, peers, places, role_sets
from fleet.machine.datastore_follow import follow
from fleet.machine.datastore_publish import own_name, publish
from fleet.machine.datastore_view import Known, UnbelievableError, View
from fleet.machine.host import MachineError
from fleet.machine.receive import receive
from fleet.machine.receive_peers import receive as receive_peers
from tests.small_s3 import SmallS3, small_s3
from tests.unit.fake_machine import WEB, FakeClock, FakeHost, web_host
from tests.unit.test_datastore_settings import BUNDLE
from tests.unit.test_datastore_view import OTHER, OWN
from tests.unit.test_receive import WEB_BUNDLE

MEMBER = replace(WEB, inbound=(Inbound(protocol="tcp", port=8101, sources=("role:autoscaler", "role:web")),))
CARD = '[{"addr_info": [{"local": "%s", "scope": "global"}, {"local": "%s", "scope": "global"}]}]'
WHOLE = "flush set inet flotilla role_web4\nadd element inet flotilla role_web4 { %s }\n"


@pytest.fixture(scope="module")
def served() -> Iterator[SmallS3]:
    with small_s3() as store:
        yield store


@pytest.fixture
def store(served: SmallS3) -> SmallS3:
    served.objects.clear()
    served.asked.clear()
    served.fault = lambda *_: None
    return served


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """web-1, which has its bundle."""
    host = web_host(tmp_path)
    host.lay(places.MACHINE, MEMBER.to_json())
    host.lay(places.SETTINGS, BUNDLE.settings.to_json())
    host.lay(
        places.MANIFEST,
        json.dumps({**dict.fromkeys(("packages", "files"), ""), "release": "v1", "digest": "8ca1f0"}),
    )
    host.lay(places.RELEASE, "FLOTILLA_RELEASE=v1\n")
    host.lay(datastore_publish.INSTANCE, '{"v1": {"local_hostname": "web-1-3fa2c1b"}}')
    host.answer("ip -json address show scope global", CARD % ("198.18.0.1", "10.20.0.2"))
    return host


def run(host: FakeHost, store: SmallS3, machine: MachineConfig = MEMBER) -> View:
    with store.bucket() as bucket:
        return publish(host, FakeClock(), machine, bucket)


def known(*records: Record) -> View:
    return View({record.key: Known("", record) for record in records})


def test_a_machine_publishes_its_address_and_facts(host: FakeHost, store: SmallS3) -> None:
    view = run(host, store)
    written = json.loads(store.objects["ips/web/web-1-3fa2c1b"].body)
    assert written == {
        "version": 1,
        "role": "web",
        "name": "web-1-3fa2c1b",
        "address": "198.18.0.1",
        "private_address": "10.20.0.2",
        "at": "1970-01-12T13:46:40+00:00",
        "image": "8ca1f0",
        "release": "v1",
    }
    assert view.addresses() == {"web": {"web-1-3fa2c1b": "10.20.0.2"}}
    assert datastore_memory.load(host) == view


def test_equal_facts_are_written_again_as_they_were_and_read_by_nobody(
    host: FakeHost, store: SmallS3
) -> None:
    run(host, store)
    store.lay(OTHER.key, OTHER.to_json())
    run(host, store)
    before = dict(store.objects)
    store.asked.clear()
    with store.bucket() as bucket:
        clock = FakeClock()
        clock.time += 60
        publish(host, clock, MEMBER, bucket)
    assert store.asked == [("PUT", OWN.key), ("GET", "")]
    assert {key: each.body for key, each in store.objects.items()} == {
        key: each.body for key, each in before.items()
    }


@pytest.mark.parametrize("text", [None, "{", '{"v1": {}}', '{"v1": {"local_hostname": "A B"}}', "[]"])
def test_without_a_name_from_the_cloud_the_slot_is_the_name(tmp_path: Path, text: str | None) -> None:
    host = FakeHost(tmp_path)
    if text is not None:
        host.lay(datastore_publish.INSTANCE, text)
    assert own_name(host, WEB) == "web-1"


@pytest.mark.parametrize(
    ("addresses", "public"),
    [
        (("10.20.0.2", "10.16.0.5"), ""),
        (("10.16.0.5", "203.0.113.5"), "203.0.113.5"),
        (("2001:db8::1", "10.20.0.2"), ""),
    ],
)
def test_the_public_address_is_none_of_a_private_network(
    host: FakeHost, addresses: tuple[str, str], public: str
) -> None:
    host.answer("ip -json address show scope global", CARD % addresses)
    assert address.public(host, MEMBER.network) == public


def test_when_the_store_is_away_or_lies_the_last_view_stays(host: FakeHost, store: SmallS3) -> None:
    store.lay(OTHER.key, OTHER.to_json())
    good = run(host, store)
    text = host.read(places.DATASTORE_VIEW)
    for fault, error in (
        ((503, b""), StoreError),
        ((403, b"<Error><Code>AccessDenied</Code></Error>"), StoreError),
        ((200, b"<ListBucketResult></ListBucketResult>"), UnbelievableError),
        ((200, b"<html>"), StoreError),
    ):
        store.fault = lambda method, _, said=fault: said if method == "GET" else None  # type: ignore[misc]
        with pytest.raises(error):
            run(host, store)
        assert host.read(places.DATASTORE_VIEW) == text
    assert datastore_memory.load(host) == good


def test_a_complaint_is_told_once_and_when_it_is_over(
    host: FakeHost, store: SmallS3, capsys: pytest.CaptureFixture[str]
) -> None:
    store.lay("ips/web/web-9", b"{}")
    run(host, store)
    assert "'ips/web/web-9' is passed over: its version is None" in capsys.readouterr().err
    run(host, store)
    assert capsys.readouterr().err == ""
    del store.objects["ips/web/web-9"]
    run(host, store)
    assert "no longer so: 'ips/web/web-9'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "members": {"x": {}}}'])
def test_a_view_that_cannot_be_read_is_none(host: FakeHost, text: str) -> None:
    host.lay(places.DATASTORE_VIEW, text)
    assert datastore_memory.load(host) == datastore_memory.NOTHING


def test_sets_hold_the_network_until_a_view_is_there(host: FakeHost) -> None:
    assert follow(host, MEMBER) == []
    assert host.read(role_sets.RULES) is None
    assert not any(line.startswith("nft") for line in host.lines())


def test_sets_follow_the_view_in_one_transaction(host: FakeHost) -> None:
    datastore_memory.save(host, known(OWN, OTHER))
    assert follow(host, MEMBER) == [
        "2 peers: web-1, web-2",
        "web: 2 machines, instead of the whole network",
    ]
    assert host.read(role_sets.RULES) == WHOLE % "10.20.0.2, 10.20.0.3"
    assert [line for line in host.lines() if line.startswith("nft")] == ["nft --file -"]
    assert host.fed[("nft", "--file", "-")] == WHOLE % "10.20.0.2, 10.20.0.3"
    datastore_memory.save(host, known(OWN))
    assert follow(host, MEMBER) == ["1 peers: web-1", "web: 1 machines: 10.20.0.3 went"]
    host.ran.clear()
    assert follow(host, MEMBER) == []
    assert not host.ran


def test_a_role_without_a_machine_keeps_its_last_good_list(host: FakeHost) -> None:
    node = replace(OWN, role="autoscaler", name="autoscaler-1", private_address="10.20.0.9")
    datastore_memory.save(host, known(OWN, node))
    follow(host, MEMBER)
    datastore_memory.save(host, known(OWN, OTHER))
    follow(host, MEMBER)
    assert role_sets.in_force(host) == {"autoscaler": ["10.20.0.9"], "web": ["10.20.0.2", "10.20.0.3"]}


def test_a_set_never_grows_by_an_address_outside_the_network(host: FakeHost) -> None:
    """Also when whoever wrote the view was taken over."""
    stranger = replace(OTHER, private_address="198.18.0.66")
    datastore_memory.save(host, known(OWN, stranger, replace(OTHER, name="x", private_address="2001:db8::1")))
    follow(host, MEMBER)
    assert role_sets.in_force(host) == {"web": ["10.20.0.2"]}
    assert peers.load(host) == {"web-1": "10.20.0.2"}


def test_rules_that_the_packet_filter_refuses_are_not_kept(host: FakeHost) -> None:
    datastore_memory.save(host, known(OWN))
    host.answer("nft --file", code=1, error="no such set")
    with pytest.raises(MachineError, match="no such set"):
        follow(host, MEMBER)
    assert host.read(role_sets.RULES) is None


def test_a_run_that_died_before_it_had_written_is_done_again(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    datastore_memory.save(host, known(OWN))
    write = host.write

    def full(path: str, text: str, mode: int = 0o600) -> None:
        if path == role_sets.RULES:
            raise OSError("no space left on device")
        write(path, text, mode)

    with monkeypatch.context() as patch:
        patch.setattr(host, "write", full)
        with pytest.raises(OSError, match="no space left"):
            follow(host, MEMBER)
    assert host.read(role_sets.RULES) is None
    host.ran.clear()
    assert follow(host, MEMBER)[-1] == "web: 1 machines, instead of the whole network"
    assert "nft --file -" in host.lines()


HOSTILE = st.recursive(
    st.none() | st.integers() | st.text(max_size=30) | st.ip_addresses().map(str),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["etag", "record", "x"]) | st.text(max_size=20), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    members=st.dictionaries(
        st.sampled_from([OWN.key, OTHER.key, "ips/web/x", "x"]),
        HOSTILE
        | st.fixed_dictionaries(
            {
                "etag": HOSTILE,
                "record": st.ip_addresses().map(
                    lambda address: json.loads(replace(OTHER, private_address=str(address)).to_json())
                ),
            }
        ),
        max_size=4,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_a_taken_publisher_writes_no_stranger_comes_in(
    host: FakeHost, members: dict[str, Any]
) -> None:
    host.lay(places.DATASTORE_VIEW, json.dumps({"version": 1, "members": members, "complaints": []}))
    follow(host, MEMBER)
    for addresses in role_sets.in_force(host).values():
        assert addresses == role_sets.believable(addresses, MEMBER.network)
    assert all(each.startswith("10.20.") for each in peers.load(host).values())


def test_a_large_fleet_is_read_in_several_looks(
    host: FakeHost, store: SmallS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 6):
        record = replace(OTHER, name=f"web-{number}0", private_address=f"10.20.1.{number}")
        store.lay(record.key, record.to_json())
    clock = FakeClock()

    def slow(method: str, key: str) -> None:
        clock.time += 25 if method == "GET" and key else 0

    store.fault = slow
    sizes = []
    for _ in range(2):
        with store.bucket() as bucket:
            sizes.append(len(publish(host, clock, MEMBER, bucket).members))
    assert sizes == [3, 6]


def test_a_damaged_file_of_sets_is_written_anew(host: FakeHost) -> None:
    host.lay(
        role_sets.RULES,
        "add element inet flotilla role_web4 { 0.0.0.0/0 }\nadd element inet flotilla role_x4\n",
    )
    datastore_memory.save(host, known(OWN))
    follow(host, MEMBER)
    assert host.read(role_sets.RULES) == WHOLE % "10.20.0.2"


def test_whom_the_desk_told_of_may_come_at_once(host: FakeHost) -> None:
    datastore_memory.save(host, known(OWN))
    receive_peers(host, b'{"peers": {"web-1": "10.20.0.2", "web-3": "10.20.0.7"}}')
    assert role_sets.in_force(host) == {"web": ["10.20.0.2", "10.20.0.7"]}
    assert peers.load(host) == {"web-1": "10.20.0.2", "web-3": "10.20.0.7"}


def test_without_a_datastore_peers_are_those_told_of(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    host.lay(places.SETTINGS, WEB_BUNDLE.settings.to_json())
    host.lay(places.DATASTORE_VIEW, "left behind")
    receive_peers(host, b'{"peers": {"web-1": "10.20.0.2"}}')
    assert peers.load(host) == {"web-1": "10.20.0.2"}
    assert not any(line.startswith("nft") for line in host.lines())


def test_peers_are_those_told_of_and_those_who_speak() -> None:
    told = {"web-1": "10.20.0.2", "web-2": "10.20.0.3", "web-3": "10.20.0.4", "web-4": "10.20.0.5"}
    speaking = [
        replace(OWN, name="web-1-3fa2c1b", private_address="10.20.0.2"),
        # A rollout: the old machine of the slot speaks still, and the desk told of the new one.
        replace(OWN, name="web-2-aaaaaaa", private_address="10.20.0.30", at="2027-01-01T00:00:00+00:00"),
        replace(OWN, name="web-2-bbbbbbb", private_address="10.20.0.3"),
        # This machine was away when the desk told of another one; of two the newer counts.
        replace(OWN, name="web-3-ccccccc", private_address="10.20.0.40"),
        replace(OWN, name="web-3-ddddddd", private_address="10.20.0.41", at="2026-11-21T20:00:00+01:00"),
        replace(OWN, name="burst-1-fffffff", private_address="10.20.0.6"),
        # A new member has got the address of web-4, which is gone.
        replace(OWN, name="web-5-eeeeeee", private_address="10.20.0.5"),
    ]
    assert peers.merged(told, speaking) == {
        "web-1": "10.20.0.2",
        "web-2": "10.20.0.3",
        "web-3": "10.20.0.41",
        "burst-1": "10.20.0.6",
        "web-5": "10.20.0.5",
    }


def test_a_bundle_with_a_datastore_starts_the_publisher_and_one_without_ends_it(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    host.lay(places.MACHINE, MEMBER.to_json())
    done = receive(host, FakeClock(), BUNDLE.to_json().encode())
    assert done[-1] == "flotilla-publish.timer started, and this machine's record is being published"
    assert "systemctl start flotilla-publish.timer" in host.lines()
    datastore_memory.save(host, known(OWN, OTHER))
    receive_peers(host, b'{"peers": {"web-1": "10.20.0.2"}}')
    host.answer("systemctl is-active")
    host.ran.clear()
    assert receive(host, FakeClock(), WEB_BUNDLE.to_json().encode())[-1].startswith("no datastore any more")
    assert "systemctl stop flotilla-publish.timer" in host.lines()
    assert host.read(role_sets.RULES) is None
    assert host.fed[("nft", "--file", "-")] == (
        "flush set inet flotilla role_autoscaler4\nadd element inet flotilla role_autoscaler4 { 10.20.0.0/20 }\n"
        + WHOLE % "10.20.0.0/20"
    )
    assert peers.load(host) == {"web-1": "10.20.0.2"}


def test_a_new_key_is_used_at_once(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    receive(host, FakeClock(), BUNDLE.to_json().encode())
    host.answer("systemctl is-active")
    host.ran.clear()
    renewed = replace(BUNDLE, secrets={**BUNDLE.secrets, "datastore-secret-key": "new"})
    receive(host, FakeClock(), renewed.to_json().encode())
    assert "systemctl start --no-block flotilla-publish.service" in host.lines()


def test_a_new_database_password_is_sealed(tmp_path: Path) -> None:
    host = web_host(tmp_path)
    bundle = replace(BUNDLE, secrets={**BUNDLE.secrets, "datastore-seal-key": "a key"})
    seals = "systemctl restart --no-block flotilla-credential.service"
    receive(host, FakeClock(), BUNDLE.to_json().encode())
    assert seals not in host.lines()
    receive(host, FakeClock(), bundle.to_json().encode())
    assert seals in host.lines()
    host.ran.clear()
    receive(host, FakeClock(), bundle.to_json().encode())
    assert seals not in host.lines()
    rotated = replace(bundle, secrets={**bundle.secrets, "database-password": "new"})
    receive(host, FakeClock(), rotated.to_json().encode())
    assert seals in host.lines()


def test_only_records_are_listed(host: FakeHost, store: SmallS3) -> None:
    store.lay("credentials/database", b"sealed")
    assert run(host, store).complaints == ()
    assert RECORDS == "ips/"
