"""The provider `command` 1.2.1: commands here and on other machines, and copies to them."""

from __future__ import annotations

from sandbox.providers.command import copy, local, remote
from sandbox.providers.package import Package

PACKAGE = Package(
    name="command",
    version="1.2.1",
    configuration={},
    resources={resource.token: resource for resource in (local.COMMAND, remote.COMMAND, copy.COPY_TO_REMOTE)},
    functions={local.RUN.token: local.RUN},
)
