"""A provider as a whole: its configuration, resources and lookups."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from sandbox.providers.http import Api
from sandbox.providers.schema import Function, Property, Resource
from sandbox.providers.session import Session

Connect = Callable[[Session, Mapping[str, Any], aiohttp.ClientSession], Awaitable[Api]]


@dataclass(frozen=True, kw_only=True)
class Package:
    """One provider plugin; `version` is that of the SDK whose properties it knows."""

    name: str
    version: str
    configuration: Mapping[str, Property]
    resources: Mapping[str, Resource]
    functions: Mapping[str, Function]
    connect: Connect | None = None
