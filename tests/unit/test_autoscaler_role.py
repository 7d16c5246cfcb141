"""The autoscaler node: its payload and image, and what a bundle does to it."""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cloudinit import roles
from cloudinit.roles.common import PROGRAMS
from fleet import image
from fleet.config import CONTROLLER_CONFIG, CONTROLLER_SECRETS, Bundle, MachineConfig, Settings
from fleet.controller.config import Delivery, UnknownVersionError
from fleet.machine import controller, places
from fleet.machine.autoscaler import MOST_BYTES, SEALED
from fleet.machine.checks import checks_for
from fleet.machine.host import Clock, MachineError, Result
from fleet.machine.receive import receive
from tests.unit.fake_machine import FakeClock, FakeHost
from tests.unit.test_controller_config import IDENTITY, SSH, changed, config, secrets

IMAGE = roles.AutoscalerImage()
# What Debian's packages of the image bring.
PACKAGED = {"asyncssh", "urllib3", "cryptography"}
MACHINE = MachineConfig(
    stack="prod",
    role="autoscaler",
    slot="autoscaler-1",
    network="10.20.0.0/20",
    inbound=(SSH,),
    processes=roles.autoscaler.PROCESSES,
    ports=roles.autoscaler.PORTS,
)
BUNDLE = Bundle(
    settings=Settings(),
    secrets={CONTROLLER_CONFIG: config().to_json(), CONTROLLER_SECRETS: secrets().to_json()},
)


def node(scratch: roles.AutoscalerImage | None = None) -> roles.AutoscalerMachine:
    return roles.AutoscalerMachine(
        stack="prod",
        slot="autoscaler-1",
        network="10.20.0.0/20",
        inbound=(SSH,),
        host_key=IDENTITY.host_key("autoscaler-1"),
        authorized_keys=(IDENTITY.deploy_key().public_openssh,),
        from_scratch=scratch,
    )


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.lay(places.MACHINE, MACHINE.to_json())
    host.answer("systemctl is-active", code=3)
    return host


def give(host: FakeHost, bundle: Bundle = BUNDLE) -> list[str]:
    return receive(host, FakeClock(), bundle.to_json().encode())


def test_the_node_lets_in_ssh_only() -> None:
    document = yaml.safe_load(roles.autoscaler.boot(node()))
    files = {file["path"]: file["content"] for file in document["write_files"]}
    assert MachineConfig.from_json(files["/etc/flotilla/machine.json"]) == MACHINE
    rules = [line.strip() for line in files["/etc/nftables.conf"].splitlines() if "dport" in line]
    assert rules
    assert all("tcp dport 22 " in rule for rule in rules)
    assert "packages" not in document
    assert "python3-asyncssh" in yaml.safe_load(roles.autoscaler.boot(node(IMAGE)))["packages"]


def test_the_image_holds_all_that_the_controller_imports() -> None:
    files = {
        file.path: file.content.decode()
        for file in roles.autoscaler.files(IMAGE)
        if file.path.endswith(".py")
    }
    held = {path.removeprefix(f"{PROGRAMS}/").removesuffix(".py").replace("/", ".") for path in files}
    held |= {name.removesuffix(".__init__") for name in held}
    for path, text in files.items():
        for found in ast.walk(ast.parse(text)):
            names = (
                [alias.name for alias in found.names]
                if isinstance(found, ast.Import)
                else [found.module or "", *(f"{found.module}.{alias.name}" for alias in found.names)][:1]
                if isinstance(found, ast.ImportFrom)
                else []
            )
            for name in names:
                known = name.split(".")[0] in {*sys.stdlib_module_names, *PACKAGED}
                # The site's app server and its worker are on web members only.
                assert known or name in held or "gunicorn" in path, f"{path} imports {name}"


def test_equal_nodes_have_equal_images() -> None:
    recipe = image.recipe("autoscaler", {}, "flotilla", Path())
    assert recipe.digest == image.recipe("autoscaler", {"flotilla:domain": "x"}, "flotilla", Path()).digest
    name = image.Name.parse(f"autoscaler-2026.11.21-{recipe.digest}{'0' * 8}")
    assert name is not None
    assert name.role == "autoscaler"


def test_a_bundle_starts_the_controller_and_the_same_again_does_nothing(host: FakeHost) -> None:
    assert give(host)[1:] == ["the controller started"]
    host.answer("systemctl is-active")
    host.ran.clear()
    assert give(host)[1:] == ["the controller runs"]
    assert not [line for line in host.lines() if "restart" in line]
    other = replace(BUNDLE, secrets={**BUNDLE.secrets, CONTROLLER_CONFIG: config(count=3).to_json()})
    assert give(host, other)[1:] == ["the controller started"]


def test_the_secrets_lie_on_disk_sealed_only(host: FakeHost) -> None:
    sealed: list[str] = []

    def encrypt(argv: tuple[str, ...]) -> Result:
        sealed.append(host.fed[argv])
        return Result(0, "gibberish\n", "")

    host.react("systemd-creds encrypt", encrypt)
    give(host)
    text = BUNDLE.secrets[CONTROLLER_SECRETS]
    assert sealed == [text]
    assert host.read(SEALED) == "gibberish\n"
    secret = secrets().cloud_token
    laid = [path for path in host.root.rglob("*") if path.is_file()]
    assert not [path for path in laid if secret in path.read_text()]
    # What opens to the same text stays.
    host.answer("systemd-creds decrypt", text)
    give(host)
    assert len(sealed) == 1
    host.answer("systemd-creds decrypt", code=1, error="key lost")
    give(host)
    assert len(sealed) == 2


def test_secrets_that_cannot_be_sealed_stop_the_bundle(host: FakeHost) -> None:
    host.answer("systemd-creds encrypt", code=1, error="no key")
    with pytest.raises(MachineError, match="no key"):
        give(host)
    assert not host.path(places.CURRENT).exists()


def test_what_the_controller_cannot_read_never_comes_into_force(host: FakeHost) -> None:
    give(host)
    before = host.path(places.CURRENT).readlink()
    future = changed(config().to_json(), version=2)
    with pytest.raises(UnknownVersionError, match="reads version 1"):
        give(host, replace(BUNDLE, secrets={**BUNDLE.secrets, CONTROLLER_CONFIG: future}))
    foreign = config(stack="dev").to_json()
    with pytest.raises(MachineError, match="for stack dev; this machine is prod's"):
        give(host, replace(BUNDLE, secrets={**BUNDLE.secrets, CONTROLLER_CONFIG: foreign}))
    large = replace(secrets(), deliveries={"1": Delivery(laying="install", content="x" * MOST_BYTES)})
    with pytest.raises(MachineError, match="fleet bake web"):
        give(host, replace(BUNDLE, secrets={**BUNDLE.secrets, CONTROLLER_SECRETS: large.to_json()}))
    assert host.path(places.CURRENT).readlink() == before


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({}, None),
        ({"at": FakeClock().wall() - 61}, "the controller's last pass was 61 s ago"),
        ({"warnings": ["the cloud token lacks droplet:delete"]}, "the cloud token lacks droplet:delete"),
        ({"complaints": ["a", "b"]}, "a; b"),
        ({"held": "no memory"}, "no memory"),
    ],
)
def test_the_gate_asks_the_controllers_status(
    host: FakeHost, status: dict[str, object], reason: str | None
) -> None:
    clock: Clock = FakeClock()
    assert controller.working(host, clock) == "the controller has not finished a pass yet"
    usual = {"at": clock.wall(), "warnings": [], "complaints": [], "held": ""}
    host.lay(controller.STATUS, json.dumps({**usual, **status}))
    assert controller.working(host, clock) == reason
    assert "controller" in [check.name for check in checks_for(host, clock, MACHINE, Settings())]
