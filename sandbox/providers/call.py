"""What an operation on a resource gets to work with, and the ways it can end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sandbox.providers.http import Api
from sandbox.providers.session import Session
from sandbox.providers.values import Values


class OperationError(Exception):
    """An operation failed; the text is shown to the user."""


class NotReadyError(Exception):
    """The object exists but did not become ready: it is kept in the state with an error mark."""

    def __init__(self, key: str, outputs: Values, reason: str) -> None:
        super().__init__(reason)
        self.key, self.outputs = key, outputs


@dataclass(frozen=True, slots=True)
class Created:
    """A new object: its id, and the outputs that the inputs do not already tell."""

    key: str
    outputs: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation. `inputs` and `state` are plain (no secret marks); `changed` names the properties to update.

    `timeout`: seconds the program allows (its custom timeout), 0 for the resource's own limit.
    """

    session: Session
    urn: str = ""
    name: str = ""
    key: str = ""
    inputs: Values = field(default_factory=dict)
    state: Values = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    timeout: float = 0
    connection: Api | None = None

    @property
    def api(self) -> Api:
        if self.connection is None:
            raise OperationError("the provider has no API to call")
        return self.connection

    async def warn(self, message: str) -> None:
        await self.session.log("warning", message, self.urn)


@dataclass(slots=True)
class Poll:
    """The rhythm of asking a cloud whether something has happened: often at first, then less.

    The official plugin starts with ten seconds of silence; those are not imitated.
    """

    session: Session
    limit: float
    wait: float = 0.1
    longest: float = 3
    _began: float = field(default_factory=time.monotonic)

    async def next(self, waiting_for: str) -> None:
        """Pause before the next look.

        Raises: OperationError past the limit, CancelledByEngineError when the engine stops.
        """
        left = self.limit - (time.monotonic() - self._began)
        if left <= 0:
            raise OperationError(f"timeout while waiting for {waiting_for} ({self.limit:.0f} s)")
        await self.session.pause(min(self.wait, left))
        self.wait = min(self.longest, self.wait * 1.6)
