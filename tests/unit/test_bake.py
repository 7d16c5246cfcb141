"""A bake from droplet to snapshot, against a real SSH server and a cloud in memory."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest

from fleet import bake, commands, image, ssh
from fleet.baking_machine import Keys
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.image import CLEAN, Recipe
from fleet.pulumi_cli import Project, PulumiCli

RECIPE = Recipe("web", "#cloud-config\npackages: [nginx]\n", b"the archive", "3f2a9c41")


@dataclass
class MemoryCloud:
    """An account in memory: keeps what is asked of it, in order."""

    log: list[str] = field(default_factory=list)
    droplets: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.log.append(f"POST {path}")
        if path == "/v2/account/keys":
            self.keys.append({"id": 5, "name": body["name"]})
            return {"ssh_key": {"id": 5}}
        self.droplets.append({**body, "id": 9, "created_at": "2026-11-21T10:00:00Z"})
        return {"droplet": {"id": 9}}

    def every(self, path: str, key: str, **_: object) -> Iterator[dict[str, Any]]:
        yield from {"droplets": self.droplets, "ssh_keys": self.keys, "images": self.images}[key]

    def delete(self, path: str) -> None:
        self.log.append(f"DELETE {path}")
        number = int(path.rpartition("/")[2])
        self.droplets = [row for row in self.droplets if row["id"] != number]
        self.keys = [row for row in self.keys if row["id"] != number]

    async def await_droplet(self, droplet: int, status: str, *, seconds: float) -> dict[str, Any]:
        self.log.append(f"await {status}")
        return {"networks": {"v4": [{"type": "public", "ip_address": "127.0.0.1"}]}}

    async def act(self, droplet: int, kind: str, **fields: str) -> None:
        self.log.append(" ".join([kind, *fields.values()]))
        if kind == "snapshot":
            self.images.append(
                {
                    "id": 70,
                    "name": fields["name"],
                    "slug": None,
                    "regions": ["lon1"],
                    "created_at": "2026-11-21T10:00:00Z",
                }
            )


@dataclass
class Machine:
    """The SSH side of the droplet: how each command ends, and what was run."""

    failing: str = ""
    manifest: bytes = b'{"digest": "%s"}\n' % (b"b07e2d11" * 8)
    ran: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    hang: asyncio.Event | None = None

    async def __call__(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        self.ran.append(command)
        self.received.append(await process.stdin.read())
        if self.hang is not None:
            self.hang.set()
            await asyncio.Event().wait()
        if command.startswith("tail"):
            process.stdout.write(b"E: Unable to locate package nginx\n")
        if command == commands.INSTALL:
            process.stdout.write(b"some words\n" + self.manifest)
        failed = bool(self.failing) and self.failing in command
        process.exit(1 if failed else 0)


@asynccontextmanager
async def listening(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    keys = Keys.generate("test")
    monkeypatch.setattr(Keys, "generate", lambda _: keys)
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.import_private_key(keys.host_private)],
        authorized_client_keys=asyncssh.import_authorized_keys(keys.login_public),
        process_factory=machine,
        encoding=None,
    )
    port = server.get_port()
    monkeypatch.setattr(
        Keys,
        "target",
        lambda own, address: ssh.Target(address, own.host_public, private_key=own.login_private, port=port),
    )
    async with server:
        yield


@pytest.fixture
def cloud() -> MemoryCloud:
    return MemoryCloud()


def oven(cloud: MemoryCloud) -> bake.Oven:
    return bake.Oven(cast(DigitalOcean, cloud), "lon1", "s-1vcpu-1gb")


async def test_a_bake_fills_cleans_snapshots_and_leaves_only_the_image(
    cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    async with listening(machine, monkeypatch):
        [done] = await bake._bake_all(oven(cloud), [RECIPE], fresh=False)
    assert isinstance(done, bake.Baked)
    assert machine.ran == ["cloud-init status --wait --long </dev/null", commands.INSTALL, CLEAN]
    assert machine.received[1] == b"the archive"
    assert cloud.log == [
        "POST /v2/account/keys",
        "POST /v2/droplets",
        "await active",
        "shutdown",
        "await off",
        f"snapshot {done.image}",
        "DELETE /v2/droplets/9",
        "DELETE /v2/account/keys/5",
    ]


async def test_the_images_name_has_the_digests_of_what_went_in_and_of_what_came_out(
    cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(Machine(), monkeypatch):
        [once] = await bake._bake_all(oven(cloud), [RECIPE], fresh=False)
        [again] = await bake._bake_all(oven(cloud), [RECIPE], fresh=True)
    assert isinstance(once, bake.Baked)
    assert isinstance(again, bake.Baked)
    assert once.image.endswith("-3f2a9c41b07e2d11")
    assert re.fullmatch(r"web-[\d.]+-3f2a9c41b07e2d11[0-9a-f]{4}", again.image)
    assert RECIPE.made(cloud.images, "lon1") is not None


@pytest.mark.parametrize("printed", [b"", b"done\n", b"{}\n", b'{"digest": "short"}\n'])
async def test_an_image_without_a_manifest_is_not_kept(
    cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch, printed: bytes
) -> None:
    async with listening(Machine(manifest=printed), monkeypatch):
        [error] = await bake._bake_all(oven(cloud), [RECIPE], fresh=False)
    assert "laying files ended without a manifest" in str(error)
    assert (cloud.droplets, cloud.keys, cloud.images) == ([], [], [])


async def test_roles_are_baked_at_the_same_time_and_one_that_fails_does_not_stop_the_other(
    cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = asyncio.Barrier(2)
    database = Recipe("database", RECIPE.user_data, b"rubbish", "00000000")

    async def meet(_oven: bake.Oven, recipe: Recipe, *_: object) -> str:
        await asyncio.wait_for(both.wait(), 20)
        if recipe is database:
            raise FleetError("no room")
        return "an image"

    monkeypatch.setattr(bake, "_on_a_droplet", meet)
    done = await bake._bake_all(oven(cloud), [RECIPE, database], fresh=False)
    assert [str(outcome) for outcome in done] == [
        "Baked(role='web', image='an image', how='baked')",
        "database was not baked: no room",
    ]


async def test_a_failed_bake_shows_the_machines_log_and_leaves_nothing(
    cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with listening(Machine(failing="cloud-init status"), monkeypatch):
        [error] = await bake._bake_all(oven(cloud), [RECIPE], fresh=False)
    assert isinstance(error, FleetError)
    assert "web was not baked" in str(error)
    assert "E: Unable to locate package nginx" in str(error)
    assert (cloud.droplets, cloud.keys, cloud.images) == ([], [], [])
    assert "web: failed" in capsys.readouterr().err


async def test_an_interrupted_bake_leaves_nothing(
    cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = asyncio.Event()
    async with listening(Machine(hang=hanging), monkeypatch):
        baking = asyncio.create_task(bake._bake_all(oven(cloud), [RECIPE], fresh=False))
        await hanging.wait()
        baking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await baking
    assert (cloud.droplets, cloud.keys, cloud.images) == ([], [], [])


async def test_a_bake_that_is_interrupted_while_it_asks_for_a_droplet_deletes_it(
    cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    post = cloud.post

    def slow(path: str, body: dict[str, Any]) -> dict[str, Any]:
        loop.call_soon_threadsafe(asked.set)
        assert answer.wait(20)
        return post(path, body)

    monkeypatch.setattr(cloud, "post", slow)
    baking = asyncio.create_task(bake._bake_all(oven(cloud), [RECIPE], fresh=False))
    await asked.wait()
    baking.cancel()
    loop.call_soon(answer.set)
    with pytest.raises(asyncio.CancelledError):
        await baking
    assert "POST /v2/droplets" in cloud.log
    assert (cloud.droplets, cloud.keys) == ([], [])


class MemoryPulumi:
    """A stack's config in memory."""

    def __init__(self, directory: Path) -> None:
        self.project = Project(directory, "flotilla")
        self.values: dict[str, Any] = {"flotilla:cloud": {"region": "lon1"}}
        self.written: list[tuple[str, str]] = []

    def config(self, _stack: str) -> dict[str, Any]:
        return self.values

    def set_config(self, _stack: str, path: str, value: str) -> None:
        self.written.append((path, value))


@pytest.fixture
def pulumi(tmp_path: Path) -> MemoryPulumi:
    (tmp_path / "app" / "visits").mkdir(parents=True)
    (tmp_path / "app" / "visits" / "wsgi.py").write_text("app = None\n")
    return MemoryPulumi(tmp_path)


def a_snapshot(name: str) -> dict[str, Any]:
    return {"id": 1, "name": name, "slug": None, "regions": ["lon1"], "created_at": "2026-11-21T10:00:00Z"}


def run_bake(pulumi: MemoryPulumi, cloud: MemoryCloud, wanted: bake.Wanted) -> list[bake.Baked]:
    return bake.bake(cast(PulumiCli, pulumi), cast(DigitalOcean, cloud), wanted, lambda _: None)


def test_content_that_has_an_image_is_not_baked_again_but_written_to_config(
    pulumi: MemoryPulumi, cloud: MemoryCloud
) -> None:
    digest = image.recipe("web", pulumi.values, "flotilla", pulumi.project.directory).digest
    cloud.images = [a_snapshot(f"web-2026.11.20-{digest}b07e2d11")]
    [done] = run_bake(pulumi, cloud, bake.Wanted(["web"], "dev"))
    assert (done.image, done.how) == (f"web-2026.11.20-{digest}b07e2d11", "found")
    assert pulumi.written == [("flotilla:web.image", f"web-2026.11.20-{digest}b07e2d11")]
    assert cloud.log == []


def test_missing_keeps_a_configured_image_that_exists_whatever_its_content(
    pulumi: MemoryPulumi, cloud: MemoryCloud
) -> None:
    pulumi.values["flotilla:web"] = {"image": "web-2026.11.01-00000000"}
    cloud.images = [a_snapshot("web-2026.11.01-00000000")]
    [done] = run_bake(pulumi, cloud, bake.Wanted(["web"], "dev", missing=True))
    assert (done.how, pulumi.written, cloud.log) == ("kept", [], [])


def test_a_failed_bake_is_an_error_and_writes_nothing(
    pulumi: MemoryPulumi, cloud: MemoryCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> dict[str, Any]:
        raise FleetError("DigitalOcean's API refused POST /v2/droplets with 422: droplet limit")

    monkeypatch.setattr(cloud, "post", refuse)
    with pytest.raises(bake.BakeError, match=r"web was not baked: .*droplet limit"):
        run_bake(pulumi, cloud, bake.Wanted(["web"], "dev"))
    assert pulumi.written == []
