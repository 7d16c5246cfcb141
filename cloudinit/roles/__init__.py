"""One module per role: `boot` for a machine, `bake` and `archive` for its image."""

from cloudinit.roles import autoscaler, database, web
from cloudinit.roles.autoscaler import AutoscalerImage, AutoscalerMachine
from cloudinit.roles.common import Machine
from cloudinit.roles.database import DatabaseImage, DatabaseMachine
from cloudinit.roles.web import WebImage, WebMachine

__all__ = [
    "AutoscalerImage",
    "AutoscalerMachine",
    "DatabaseImage",
    "DatabaseMachine",
    "Machine",
    "WebImage",
    "WebMachine",
    "autoscaler",
    "database",
    "web",
]
