"""Lists in pages: `page`, `per_page`, `links` and `meta`, as every list of the API has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from sandbox.api.errors import bad_request
from sandbox.store import Document

# https://docs.digitalocean.com/reference/api/intro/ (links and pagination)
DEFAULT_PER_PAGE = 20
MOST_PER_PAGE = 200

PARAMETERS = frozenset({"page", "per_page"})


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that a request asks for."""

    number: int
    size: int

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Page:
        return cls(
            number=_whole(query, "page", 1, 1_000_000_000),
            size=_whole(query, "per_page", DEFAULT_PER_PAGE, MOST_PER_PAGE),
        )

    @property
    def first(self) -> int:
        return (self.number - 1) * self.size

    def frame(self, total: int, url: str, query: Mapping[str, str]) -> Document:
        """`links` and `meta` of this page of a list with so many entries at this URL."""
        last = max(1, -(-total // self.size))

        def link(number: int) -> str:
            return f"{url}?{urlencode({**query, 'page': number, 'per_page': self.size})}"

        pages: Document = {}
        if self.number > 1:
            pages |= {"first": link(1), "prev": link(min(self.number - 1, last))}
        if self.number < last:
            pages |= {"next": link(self.number + 1), "last": link(last)}
        return {"links": {"pages": pages} if pages else {}, "meta": {"total": total}}


def _whole(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise bad_request(f"{name} must be a whole number from 1 to {most}, not {text!r}")
    return int(text)
