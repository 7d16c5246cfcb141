"""One request to an endpoint and its answer, free of HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.api.body import Model, parse
from sandbox.api.cloud import Cloud
from sandbox.api.errors import bad_request, not_found
from sandbox.api.pagination import PARAMETERS, Page
from sandbox.store import Document, Store

# Ids are signed 64-bit numbers.
_MOST_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON document; None sends no body at all."""

    status: int
    body: Document | None = None


NO_CONTENT = Answer(204)


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler sees: the cloud, the path's variables, the query, the body and its own address."""

    cloud: Cloud
    path: Mapping[str, str]
    query: Mapping[str, str]
    content: bytes
    origin: str  # scheme and host, for links
    location: str  # path of the request
    sees_credentials: bool = True  # whether answers to this token hold the passwords of databases

    @property
    def store(self) -> Store:
        return self.cloud.store

    def number(self, name: str) -> int:
        """A numeric path variable; what is no number names nothing, hence 404."""
        text = self.path[name]
        if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
            raise not_found()
        return int(text)

    def json(self) -> Any:
        if not self.content.strip():
            return {}
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            raise bad_request("error parsing request body") from error

    def body(self, model: type[Model]) -> Model:
        return parse(model, self.json())

    def listing(
        self, key: str, items: Sequence[Document], view: Callable[[Document], Document] | None = None
    ) -> Answer:
        """A page of a list; only what is shown is dressed by `view`."""
        page = Page.of(self.query)
        shown = items[page.first : page.first + page.size]
        dressed = [view(item) for item in shown] if view else list(shown)
        frame = page.frame(len(items), self.origin + self.location, self.query)
        return Answer(200, {key: dressed, **frame})


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route: method, path with {variables}, handler, and the query parameters it knows."""

    method: str
    path: str
    handler: Handler
    query: frozenset[str] = frozenset()


def lists(path: str, handler: Handler, *filters: str) -> Endpoint:
    """A GET that answers in pages."""
    return Endpoint("GET", path, handler, PARAMETERS | frozenset(filters))
