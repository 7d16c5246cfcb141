"""The database role: MariaDB or PostgreSQL on a volume of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cloudinit import archive as archives
from cloudinit.archive import File
from cloudinit.document import cloud_config
from cloudinit.roles import common
from cloudinit.roles.common import Machine
from fleet.config import Engine, MachineConfig

PORT: Final[Mapping[Engine, int]] = {"mysql": 3306, "postgresql": 5432}
PACKAGES: Final[Mapping[Engine, tuple[str, ...]]] = {
    "mysql": ("e2fsprogs", "mariadb-client", "mariadb-server"),
    "postgresql": ("e2fsprogs", "postgresql", "postgresql-client"),
}
UNITS: Final[Mapping[Engine, tuple[str, ...]]] = {
    "mysql": ("flotilla-volume.service", "mariadb.service"),
    "postgresql": ("flotilla-volume.service", "postgresql.service"),
}
_SERVER: Final[Mapping[Engine, str]] = {
    "mysql": "mariadb.service",
    "postgresql": "postgresql@17-main.service",
}
_HOLDS: Final[Mapping[Engine, str]] = {
    "mysql": "/etc/systemd/system/mariadb.service.d/flotilla.conf",
    "postgresql": "/etc/postgresql-common/createcluster.conf",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseImage:
    """What an image of a database machine holds."""

    engine: Engine = "mysql"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseMachine(Machine):
    """The database machine. `from_scratch`: its image is a plain distribution, and this is to be laid on it."""

    engine: Engine = "mysql"
    volume: str  # name of the block storage volume that holds the data
    from_scratch: DatabaseImage | None = None


def boot(machine: DatabaseMachine) -> str:
    """User data of a database machine: identity and structure."""
    scratch = machine.from_scratch
    config = MachineConfig(
        stack=machine.stack,
        role="database",
        slot=machine.slot,
        network=machine.network,
        inbound=machine.inbound,
        processes=("ssh.service", "nftables.service", "flotilla-volume.service", _SERVER[machine.engine]),
        ports=(22, PORT[machine.engine]),
        engine=machine.engine,
        volume=machine.volume,
        image=digest(scratch) if scratch else "",
    )
    document = common.boot_document(machine, config)
    return cloud_config(common.merged(document, _bake(scratch)) if scratch else document)


def bake(image: DatabaseImage) -> str:
    """User data of the machine on which an image is made: packages. The files follow by `archive`."""
    return cloud_config(_bake(image))


def files(image: DatabaseImage) -> list[File]:
    """Every file of the image that is no package's."""
    return common.image_files(["database", image.engine], UNITS[image.engine], PACKAGES[image.engine])


def archive(image: DatabaseImage) -> bytes:
    """The image's files, for `fleet.commands.INSTALL`."""
    return archives.pack(files(image))


@lru_cache(maxsize=4)  # asked for by every machine of a tier, and the files are read for it
def digest(image: DatabaseImage) -> str:
    """Everything that goes into the image, as one SHA-256 in hexadecimal."""
    return archives.digest([*files(image), File("user-data", bake(image).encode())])


def _bake(image: DatabaseImage) -> dict[str, object]:
    return common.bake_document(
        PACKAGES[image.engine], [common.tree_file(image.engine, _HOLDS[image.engine])]
    )
