"""JSON over HTTPS with a bearer token: what the clients of the clouds have in common."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import urllib3

from fleet.errors import FleetError

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
TRIES: Final = 6
# Pauses between looks at one object; DigitalOcean's limit of 250 requests a minute leaves room for others.
POLL_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)

Json = dict[str, Any]
T = TypeVar("T")


class ApiError(FleetError):
    """The API refused a request. `retry_after`: seconds that it asks to be left alone, 0 when it does not say."""

    def __init__(
        self, api: str, request: str, status: int, message: str, hint: str, retry_after: float = 0.0
    ) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(f"{api} refused {request} with {status}: {message}{hint}")


def retries(method: str) -> urllib3.Retry:
    """How often a request is sent again, waiting 1, 2, 4 ... seconds or what Retry-After says.

    A POST whose answer is lost may have made its object, so it is repeated only when the API said that it did
    nothing (429) or was never reached.
    """
    lost = TRIES if method in IDEMPOTENT else 0
    refused = {429, 500, 502, 503, 504} if method in IDEMPOTENT else {429}
    return urllib3.Retry(
        total=TRIES,
        connect=2,  # where nobody listens, waiting longer helps nobody
        read=lost,
        other=lost,
        status_forcelist=refused,
        allowed_methods=None,
        backoff_factor=0.5,
        backoff_max=16,
        retry_after_max=60,
        respect_retry_after_header=True,
        raise_on_status=False,
    )


@dataclass(frozen=True, slots=True)
class WebApi:
    """One account of one service. Raises ApiError or FleetError with a text for the operator."""

    name: str
    url: str
    token: str = field(repr=False)
    message: Callable[[Json], str | None]  # finds the service's own words in the body of an error
    variables: str  # the environment variables that hold the URL and the token
    again: bool = (
        True  # whether a request is sent again; who looks at everything anew in the next pass need not
    )
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(timeout=urllib3.Timeout(connect=10, read=60), maxsize=8),
        repr=False,
    )

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> Json:
        """The decoded answer; an empty object for an answer without a body."""
        request = f"{method} {path}"
        try:
            answer = self.pool.request(
                method,
                f"{self.url}{path}",
                fields={name: str(value) for name, value in query.items()} if query else None,
                json=body,
                headers={"Authorization": f"Bearer {self.token}"},
                retries=retries(method) if self.again else False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise FleetError(
                f"{self.name} at {self.url} did not answer {request} ({cause(error)}); "
                f"check the network and {self.variables}"
            ) from error
        document = _decode(answer.data)
        if answer.status >= 400:
            message = self.message(document) or answer.data[:200].decode(errors="replace")
            hint = f"; check {self.variables}" if answer.status in {401, 403} else ""
            raise ApiError(self.name, request, answer.status, message, hint, _retry_after(answer.headers))
        return document


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _decode(body: bytes) -> Json:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def cause(error: BaseException) -> str:
    """The innermost cause in few words; urllib3 nests it several layers deep."""
    inner = getattr(error, "reason", None)
    return cause(inner) if isinstance(inner, BaseException) else f"{type(error).__name__}: {error}"


async def await_value(look: Callable[[], T], good: Callable[[T], bool], *, seconds: float, what: str) -> T:
    """Ask again and again, slower and slower, until the answer is good; such an API has no other way to wait.

    `look` may block: it runs in a thread. Raises FleetError after `seconds`.
    """
    deadline = time.monotonic() + seconds
    tries = 0
    while True:
        value = await asyncio.to_thread(look)
        if good(value):
            return value
        pause = POLL_SECONDS[min(tries // 3, len(POLL_SECONDS) - 1)]
        if time.monotonic() + pause > deadline:
            raise FleetError(f"waited {seconds:.0f} s in vain for {what}")
        await asyncio.sleep(pause)
        tries += 1
