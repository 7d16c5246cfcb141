"""`fleet canary`: which of the cloud's droplets is watched, with which keys."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from typer.testing import CliRunner

from fleet import cli, commands, members, watch
from fleet.digitalocean import DigitalOcean
from fleet.identity import Identity
from fleet.watch import Seat

SEED = base64.b64encode(b"s" * 32).decode()
IDENTITY = Identity.from_seed(SEED)


def droplet(name: str, number: int, created: str = "2026-11-21T10:00:00Z") -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "created_at": created,
        "image": {"id": 7, "name": "web-2026.11.21-3f2a", "slug": None},
        "networks": {
            "v4": [
                {"type": "private", "ip_address": f"10.20.0.{number}"},
                {"type": "public", "ip_address": f"198.18.0.{number}"},
            ]
        },
    }


class ListedCloud:
    """An account with these droplets."""

    def __init__(self, *droplets: dict[str, Any]) -> None:
        self.droplets = droplets
        self.asked: list[dict[str, object]] = []

    def every(self, _path: str, _key: str, **query: object) -> list[dict[str, Any]]:
        self.asked.append(query)
        return list(self.droplets)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> ListedCloud:
    found = ListedCloud(
        droplet("web-1-00000aa", 3, "2026-11-21T11:00:00Z"),
        droplet("web-1-3fa2c1b", 1),
        droplet("web-12-3fa2c1b", 2),
        {**droplet("web-2-11111aa", 9), "networks": {"v4": [], "v6": []}},
    )
    monkeypatch.setattr(DigitalOcean, "from_environment", lambda: found)
    monkeypatch.setenv(commands.SEED_VARIABLE, SEED)
    monkeypatch.setenv(commands.HOST_VARIABLE, "198.18.0.3")
    return found


ARGUMENTS = ["canary", "--stack", "prod", "--slot", "web-1", "--seconds", "30", "--propagation", "300"]


def test_the_newcomer_is_watched_against_all_other_droplets_of_the_tier(
    cloud: ListedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Seat, list[Seat]]] = []

    async def note(seat: Seat, others: list[Seat], wanted: object, stack: str, _: object) -> str:
        asked.append((seat, others))
        assert (str(wanted), stack) == ("Watch(seconds=30, propagation=300)", "prod")
        return "fine"

    monkeypatch.setattr(watch, "watch", note)
    done = CliRunner().invoke(cli.app, ARGUMENTS)
    assert done.exit_code == 0, done.output
    assert "web-1 (198.18.0.3): fine" in done.stderr
    [(seat, others)] = asked
    assert (seat.target.host, seat.private_address) == ("198.18.0.3", "10.20.0.3")
    assert seat.target.host_key == IDENTITY.host_key("web-1").public_openssh
    assert [(other.member.name, other.target.host) for other in others] == [
        ("web-1", "198.18.0.1"),
        ("web-12", "198.18.0.2"),
    ]
    assert others[1].target.host_key == IDENTITY.host_key("web-12").public_openssh
    assert cloud.asked == [{"tag_name": "prod-web"}]


def test_an_address_that_no_droplet_has_is_named(cloud: ListedCloud) -> None:
    done = CliRunner().invoke(cli.app, ARGUMENTS, env={commands.HOST_VARIABLE: "198.18.0.77"})
    assert "no droplet with the tag prod-web has the address 198.18.0.77 of the canary web-1" in str(
        done.exception
    )


def test_without_the_seed_it_says_where_it_comes_from(
    cloud: ListedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(commands.SEED_VARIABLE)
    done = CliRunner().invoke(cli.app, ARGUMENTS)
    assert "FLOTILLA_SEED is not set; `fleet canary` takes its keys from the environment" in str(
        done.exception
    )


def test_a_droplet_beyond_the_slots_is_known_by_its_whole_name() -> None:
    assert members.slot_of("web-7-3fa2c1b") == "web-7"
    assert members.slot_of("web-burst-3fa2c1b9") == "web-burst-3fa2c1b9"
