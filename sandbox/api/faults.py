"""Faults on demand: rules that make a service's requests slow, fail or vanish. Matched before handling."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from sandbox.api.body import Body


class FaultError(Body):
    """The error a service answers with."""

    accepts_null: ClassVar[frozenset[str] | None] = None

    status: int = Field(ge=400, le=599)
    body: Any = None
    headers: dict[str, str] = Field(default_factory=dict)


class Fault(Body):
    """One rule. `path` is a regular expression searched in the request's path; `times` None holds until removed.

    `drop`: "request" closes the connection before the request is handled, "answer" after it was.
    """

    accepts_null: ClassVar[frozenset[str] | None] = None

    service: Literal["digitalocean", "cloudflare"]
    method: str | None = None
    path: str | None = None
    error: FaultError | None = None
    latency_seconds: float = Field(default=0.0, ge=0)
    drop: Literal["request", "answer"] | None = None
    times: int | None = Field(default=None, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0

    @field_validator("path")
    @classmethod
    def _path(cls, path: str | None) -> str | None:
        try:
            re.compile(path or "")
        except re.error as error:
            raise ValueError(f"path: {path!r} is no regular expression: {error}") from error
        return path

    def matches(self, service: str, method: str, path: str) -> bool:
        return (
            service == self.service
            and (self.method is None or self.method.upper() == method)
            and (self.path is None or re.search(self.path, path) is not None)
        )


@dataclass(slots=True)
class _Armed:
    number: int
    fault: Fault
    left: int | None
    chance: random.Random = field(default_factory=random.Random)


class Faults:
    """The rules in force, in the order they were added; the first that strikes decides."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self._added = 0

    def add(self, fault: Fault) -> int:
        """Put a rule in force; its number."""
        self._added += 1
        chance = random.Random(fault.seed)  # noqa: S311 - repeatable by intention
        self._armed.append(_Armed(self._added, fault, fault.times, chance))
        return self._added

    def clear(self) -> None:
        self._armed.clear()

    def listing(self) -> list[dict[str, Any]]:
        return [
            {"id": armed.number, "left": armed.left, **armed.fault.model_dump(mode="json")}
            for armed in self._armed
        ]

    def strike(self, service: str, method: str, path: str) -> Fault | None:
        """The fault that hits this request, if any; counts it."""
        for armed in self._armed:
            if not armed.fault.matches(service, method, path):
                continue
            if armed.chance.random() >= armed.fault.probability:
                continue
            if armed.left is not None:
                armed.left -= 1
                if armed.left == 0:
                    self._armed.remove(armed)
            return armed.fault
        return None
