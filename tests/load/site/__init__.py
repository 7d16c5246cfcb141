"""A site for the load generator: it records each POST's id in the stack's database, and breaks when it is told to.

Laid beside the example site in a project's `app` directory, as `load_site`, so that it speaks to the database as that
one does. Each module named `*_app` in here is a variant: a WSGI callable `app` of its own.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from visits.database import (  # type: ignore[import-not-found] # the example site, as it lies on a member
    DatabaseError,
    connect,
)

# Whoever may log in to the member writes here what its site shall suffer from: 500, hang or slow.
FAULT: Final = Path("/run/load-fault")
_HANG_SECONDS: Final = 40.0
_SLOW_SECONDS: Final = 3.0
_CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS load_ids (run VARCHAR(32) NOT NULL, number BIGINT NOT NULL, "
    "member VARCHAR(64) NOT NULL)"
)
_RECORD: Final = "INSERT INTO load_ids (run, number, member) VALUES (%s, %s, %s)"
_PATH: Final = re.compile(r"/visits/(\w{1,32})/(\d{1,12})")

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Site:
    """The WSGI callable. `suffers` is a fault it has from birth, on visits alone: `500` or `slow`."""

    def __init__(self, environ: Mapping[str, str], suffers: str = "") -> None:
        self._member = environ.get("FLOTILLA_MEMBER", socket.gethostname())
        self._database: Any = connect(environ)
        self._suffers = suffers
        self._made = False

    def __call__(self, environ: Mapping[str, Any], start: StartResponse) -> Iterable[bytes]:
        status, headers = self._answer(environ)
        body = f"{self._member}\n".encode()
        own = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("X-Member", self._member)]
        start(f"{status.value} {status.phrase}", own + headers)
        return [body]

    def _answer(self, environ: Mapping[str, Any]) -> tuple[HTTPStatus, list[tuple[str, str]]]:
        path, fault = environ["PATH_INFO"], _fault()
        if fault == "hang":
            time.sleep(_HANG_SECONDS)
        if path == "/livez":
            return HTTPStatus.OK, []
        visited = _PATH.fullmatch(path)
        try:
            if path == "/readyz":
                self._make()
                return HTTPStatus.OK, []
            if "500" in (fault, self._suffers):
                return HTTPStatus.INTERNAL_SERVER_ERROR, []
            if "slow" in (fault, self._suffers):
                time.sleep(_SLOW_SECONDS)
            if not visited:
                return HTTPStatus.NOT_FOUND, []
            if environ["REQUEST_METHOD"] == "POST":
                self._make()
                self._database.run((_RECORD, (visited[1], int(visited[2]), self._member)))
        except DatabaseError:
            return HTTPStatus.SERVICE_UNAVAILABLE, []
        # After the record: whoever wrongly sends this again is found out.
        time.sleep(min(30.0, float(parse_qs(environ.get("QUERY_STRING", "")).get("sleep", ["0"])[0])))
        return HTTPStatus.OK, [("X-Id", visited[2])]

    def _make(self) -> None:
        if not self._made:
            self._database.run((_CREATE, ()))
            self._made = True


def _fault() -> str:
    try:
        return FAULT.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def site(suffers: str = "") -> Site:
    """The site with the member's own settings."""
    return Site(os.environ, suffers)
