"""The autoscaler role: the controller, and nothing that visitors reach.

The node renders no payload of its own. A burst member's is rendered by the program that renders the slots', in the same
`pulumi up`, and travels in the node's bundle: were it rendered here, members would follow the release in the node's
image, which is replaced more seldom than the slots' payload changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from cloudinit import archive as archives
from cloudinit.archive import File
from cloudinit.document import cloud_config
from cloudinit.roles import common
from cloudinit.roles.common import Machine
from fleet.config import MachineConfig

PACKAGES: Final = ("python3-asyncssh", "python3-cryptography", "python3-urllib3", "tzdata")
UNITS: Final = ("flotilla-controller.service",)
PROCESSES: Final = ("ssh.service", "nftables.service", *UNITS)
PORTS: Final = (22,)
# What the controller is made of besides the package of its own.
_CLIENTS: Final = ("cloudflare", "commands", "digitalocean", "drain", "errors", "ssh", "web_api")


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerImage:
    """What an image of the autoscaler node holds; it is the same for all stacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerMachine(Machine):
    """The autoscaler node. `from_scratch`: its image is a plain distribution, and this is to be laid on it."""

    from_scratch: AutoscalerImage | None = None


def boot(machine: AutoscalerMachine) -> str:
    """User data of an autoscaler node: identity and structure."""
    scratch = machine.from_scratch
    config = MachineConfig(
        stack=machine.stack,
        role="autoscaler",
        slot=machine.slot,
        network=machine.network,
        inbound=machine.inbound,
        processes=PROCESSES,
        ports=PORTS,
        image=digest(scratch) if scratch else "",
    )
    document = common.boot_document(machine, config)
    return cloud_config(common.merged(document, _bake()) if scratch else document)


def bake(image: AutoscalerImage) -> str:
    """User data of the machine on which an image is made: packages. The files follow by `archive`."""
    return cloud_config(_bake())


def files(image: AutoscalerImage) -> list[File]:
    """Every file of the image that is no package's."""
    return [*common.image_files(["autoscaler"], UNITS, PACKAGES), *_controller_files()]


def archive(image: AutoscalerImage) -> bytes:
    """The image's files, for `fleet.commands.INSTALL`."""
    return archives.pack(files(image))


@lru_cache(maxsize=4)
def digest(image: AutoscalerImage) -> str:
    """Everything that goes into the image, as one SHA-256 in hexadecimal."""
    return archives.digest([*files(image), File("user-data", bake(image).encode())])


def _controller_files() -> list[File]:
    root = Path(__file__).resolve().parents[2]
    sources = [f"fleet/{name}.py" for name in _CLIENTS]
    sources += sorted(path.relative_to(root).as_posix() for path in (root / "fleet/controller").glob("*.py"))
    own = [File(f"{common.PROGRAMS}/{name}", (root / name).read_bytes()) for name in sources]
    return [file for file in own if file not in common.program_files()]


def _bake() -> dict[str, object]:
    return common.bake_document(PACKAGES, [])
