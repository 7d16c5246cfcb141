"""The web role: nginx in front of gunicorn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cloudinit import archive as archives
from cloudinit.archive import File
from cloudinit.document import cloud_config
from cloudinit.release import Release
from cloudinit.roles import common
from cloudinit.roles.common import Machine
from fleet.config import MachineConfig

PACKAGES: Final = (
    "autossh",
    "gunicorn",
    "libnss-systemd",  # ssh asks for the name of the user it runs as
    "nginx",
    "python3-cryptography",
    "python3-flask",
    "python3-psycopg2",
    "python3-pymysql",
)
UNITS: Final = (
    "nginx.service",
    "flotilla-app.socket",
    "flotilla-app.service",
    "flotilla-fence.service",
    "flotilla-edge-ranges.timer",
)
# Started at boot too, by those members alone that have what they need.
ARRANGED_UNITS: Final = (
    "flotilla-failover.service",
    "flotilla-failover.path",
    "flotilla-tunnel.service",
    "flotilla-tunnel-check.timer",
)
PEER_PORT: Final = 8101  # fleet/machine/nginx.py
PROCESSES: Final = ("ssh.service", "nftables.service", *UNITS)
PORTS: Final = (22, common.SITE_PORT, PEER_PORT)

_NGINX_HOLD: Final = "/etc/systemd/system/nginx.service.d/flotilla.conf"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebImage:
    """What an image of a web member holds."""

    release: Release
    packages: tuple[str, ...] = ()  # further Debian packages that the app needs


@dataclass(frozen=True, slots=True, kw_only=True)
class WebMachine(Machine):
    """A web member. `from_scratch`: its image is a plain distribution, and this is to be laid on it."""

    from_scratch: WebImage | None = None


def boot(machine: WebMachine) -> str:
    """User data of a web member: identity and structure."""
    scratch = machine.from_scratch
    config = MachineConfig(
        stack=machine.stack,
        role="web",
        slot=machine.slot,
        network=machine.network,
        inbound=machine.inbound,
        processes=PROCESSES,
        ports=PORTS,
        image=digest(scratch) if scratch else "",
    )
    document = common.boot_document(machine, config)
    return cloud_config(common.merged(document, _bake(scratch)) if scratch else document)


def bake(image: WebImage) -> str:
    """User data of the machine on which an image is made: packages. The files follow by `archive`."""
    return cloud_config(_bake(image))


def files(image: WebImage) -> list[File]:
    """Every file of the image that is no package's."""
    units = (*UNITS, *ARRANGED_UNITS)
    return [*common.image_files(["web"], units, [*PACKAGES, *image.packages]), *image.release.files]


def archive(image: WebImage) -> bytes:
    """The image's files, for `fleet.commands.INSTALL`."""
    return archives.pack(files(image))


@lru_cache(maxsize=4)  # asked for by every machine of a tier, and the files are read for it
def digest(image: WebImage) -> str:
    """Everything that goes into the image, as one SHA-256 in hexadecimal."""
    return archives.digest([*files(image), File("user-data", bake(image).encode())])


def _bake(image: WebImage) -> dict[str, object]:
    return common.bake_document([*PACKAGES, *image.packages], [common.tree_file("web", _NGINX_HOLD)])
