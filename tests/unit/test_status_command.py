"""`fleet status`, `fleet fence` and `fleet unfence`: members as the cloud, the edge and they themselves tell it."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fleet import cli, commands, members, ssh, status
from fleet.cloudflare import Cloudflare
from fleet.desk import members as desk
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.pulumi_cli import Project
from tests.unit.ssh_machine import SshMachine, ssh_machine
from tests.unit.test_canary_command import ListedCloud, droplet
from tests.unit.test_watch import STATUS

IDENTITY = Identity(b"s" * 32)


class MemoryPulumi:
    """A stack's config and its seed."""

    project = Project(Path(), "flotilla")

    def config(self, _: str) -> dict[str, Any]:
        return {
            "flotilla:domain": "www.foobar.com",
            "flotilla:edge": {"kind": "cloudflare", "zone": "foobar.com"},
        }

    def secret(self, _stack: str, key: str) -> str:
        assert key == "flotilla:seed"
        return base64.b64encode(IDENTITY.seed).decode()


class Edge:
    """One zone whose domain leads to these addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    def every(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        if path == "/zones":
            assert query == {"name": "foobar.com"}
            return iter([{"id": "z1"}])
        assert (path, query) == ("/zones/z1/dns_records", {"type": "A", "name": "www.foobar.com"})
        return iter([{"content": address} for address in self.addresses])


def fence_of(**changes: Any) -> str:
    latency = {"bounds": [0.1, 1.0], "counts": [90, 10, 0]}
    recent = {"requests": 20, "errors": 1}
    return json.dumps(STATUS | {"requests": 100, "errors": 2, "latency": latency, "recent": recent} | changes)


@pytest.fixture
async def machines(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, SshMachine]]:
    """Three members by address: one serves, one is held, one is dead."""
    answers = {"198.18.0.1": fence_of(), "198.18.0.2": fence_of(state="held", reason="canary: slow")}
    async with AsyncExitStack() as stack:
        found = {
            address: await stack.enter_async_context(
                ssh_machine(lambda line, _, text=text: (0, text if line == commands.FENCE_STATUS else "done"))  # type: ignore[misc]
            )
            for address, text in answers.items()
        }
        connect = ssh.connect

        async def there(target: ssh.Target) -> Any:
            if target.host not in found:
                raise ssh.UnreachableError(f"no SSH session with {target.host}")
            return await connect(found[target.host].target)

        monkeypatch.setattr(ssh, "connect", there)
        yield found


ACCOUNT = ListedCloud(droplet("web-3-3fa2c1b", 3), droplet("web-1-3fa2c1b", 1), droplet("web-2-3fa2c1b", 2))
ROTATION = frozenset({"198.18.0.1", "198.18.0.3"})


async def gather() -> list[status.Row]:
    return await status.gather(members.find(ACCOUNT, "prod"), IDENTITY, ROTATION)  # type: ignore[arg-type]  # in memory


async def test_every_member_is_told_with_what_it_says_of_itself(machines: dict[str, SshMachine]) -> None:
    rows = await gather()
    assert [
        (row.machine.slot, row.in_rotation, row.fence, row.reason, row.serving, row.p99) for row in rows
    ] == [
        ("web-1", True, "open", "", True, 1.0),
        ("web-2", False, "held", "canary: slow", False, 1.0),
        ("web-3", True, "unreachable", "no SSH session with 198.18.0.3", False, None),
    ]
    table = status.lines(rows)
    assert table[0].split() == list(status.HEADINGS)
    assert "20 visits, 1 errors  1 s" in table[1]
    assert table[2].endswith("canary: slow")
    document = json.loads(json.dumps([row.as_json() for row in rows]))
    assert document[0] == {
        "slot": "web-1",
        "droplet": "web-1-3fa2c1b",
        "id": 1,
        "address": "198.18.0.1",
        "image": "web-2026.11.21-3f2a",
        "in_rotation": True,
        "fence": "open",
        "reason": "",
        "requests": 100,
        "errors": 2,
        "recent": {"requests": 20, "errors": 1},
        "p99_seconds": 1.0,
    }
    assert (document[2]["requests"], document[2]["recent"], document[2]["p99_seconds"]) == (None, None, None)


async def test_a_command_goes_to_all_and_failures_are_told_after(machines: dict[str, SshMachine]) -> None:
    found = members.find(ACCOUNT, "prod")  # type: ignore[arg-type]  # in memory
    with pytest.raises(FleetError, match=r"^web-3 \(web-3-3fa2c1b, 198.18.0.3\): no SSH session"):
        await status.command(found, IDENTITY, commands.FENCE_RELEASE)
    assert machines["198.18.0.1"].ran == machines["198.18.0.2"].ran == [(commands.FENCE_RELEASE, "")]
    said = await status.command(found[:1], IDENTITY, commands.FENCE_RELEASE)
    assert list(said.values()) == ["done"]


@pytest.mark.parametrize(
    ("edge", "records"),
    [
        ({"kind": "none", "zone": "foobar.com"}, [("A", "www", "198.18.0.1"), ("A", "@", "198.18.0.9")]),
        ({"kind": "none"}, [("A", "@", "198.18.0.1"), ("AAAA", "@", "2001:db8::1")]),
    ],
)
def test_without_an_edge_the_clouds_own_dns_tells_the_rotation(
    edge: dict[str, str], records: list[tuple[str, str, str]]
) -> None:
    class Dns:
        def every(self, path: str, _key: str) -> list[dict[str, str]]:
            assert path == f"/v2/domains/{edge.get('zone', 'www.foobar.com')}/records"
            return [{"type": kind, "name": name, "data": data} for kind, name, data in records]

    config = {"flotilla:domain": "www.foobar.com", "flotilla:edge": edge}
    found = status.rotation(config, "flotilla", Dns(), lambda: pytest.fail("no edge"))  # type: ignore[arg-type]  # in memory
    assert found == {"198.18.0.1"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """The desk with everything behind it in memory; which machines were told what."""
    sent: list[tuple[list[str], str]] = []

    async def gathered(
        machines: list[members.Machine], _: Identity, rotation: frozenset[str]
    ) -> list[status.Row]:
        return [status.Row(machine, machine.address in rotation, "open", "", None) for machine in machines]

    async def send(machines: list[members.Machine], _: Identity, line: str) -> dict[members.Machine, str]:
        sent.append(([machine.name for machine in machines], line))
        return dict.fromkeys(machines, "done")

    monkeypatch.setattr(desk, "pulumi_cli", MemoryPulumi)
    monkeypatch.setattr(DigitalOcean, "from_environment", lambda: ACCOUNT)
    monkeypatch.setattr(Cloudflare, "from_environment", lambda: Edge("198.18.0.1", "198.18.0.3"))
    monkeypatch.setattr(status, "gather", gathered)
    monkeypatch.setattr(status, "command", send)
    return sent


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def test_a_member_is_fenced_with_its_reason_and_let_back(told: list[tuple[list[str], str]]) -> None:
    reason = 'disk\'s "odd"; rm -rf /'
    assert run("fence", "web-1", "-s", "prod", "--reason", reason).exit_code == 0
    assert run("unfence", "web-1-3fa2c1b", "-s", "prod").exit_code == 0
    assert [machines for machines, _ in told] == [["web-1-3fa2c1b"], ["web-1-3fa2c1b"]]
    assert shlex.split(told[0][1]) == [commands.FENCE, "hold", "--reason", reason]
    assert told[1][1] == commands.FENCE_RELEASE


def test_the_last_member_that_serves_is_fenced_only_by_force(
    told: list[tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cloudflare, "from_environment", lambda: Edge("198.18.0.1"))
    refused = run("fence", "web-1", "-s", "prod", "--reason", "why")
    assert "web-1 is the last member of stack prod that serves visitors; fence it with --force" in str(
        refused.exception
    )
    assert told == []
    assert run("fence", "web-1", "-s", "prod", "--reason", "why", "--force").exit_code == 0
    assert run("fence", "web-2", "-s", "prod", "--reason", "why").exit_code == 0, "it had no visitors"


def test_a_slot_that_is_not_there_is_named_with_those_that_are(told: list[tuple[list[str], str]]) -> None:
    done = run("unfence", "web-9", "-s", "prod")
    assert "stack prod has no web member 'web-9'; there are: web-1, web-2, web-3" in str(done.exception)


def test_status_fails_when_nobody_serves(
    told: list[tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("status", "-s", "prod").exit_code == 0
    monkeypatch.setattr(Cloudflare, "from_environment", Edge)
    done = run("status", "-s", "prod", "--json")
    assert len(json.loads(done.stdout)) == 3
    assert "no web member of stack prod serves visitors" in str(done.exception)
