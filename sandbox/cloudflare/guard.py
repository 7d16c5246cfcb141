"""Who may call the API, and how often."""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Callable

from starlette.requests import Request

from sandbox.cloudflare.envelope import ApiError

# https://developers.cloudflare.com/fundamentals/api/reference/limits/: 1200 requests in five minutes,
# then every call is refused for the next five minutes.
REQUESTS_PER_WINDOW = 1200
WINDOW_SECONDS = 300.0
_TOKEN = re.compile(r"Bearer [0-9A-Za-z_-]{40,80}")


def check_token(request: Request, token: str) -> None:
    """Refuse a request that does not carry the account's API token."""
    header = request.headers.get("authorization")
    if header is None:
        raise ApiError(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
    if not _TOKEN.fullmatch(header):
        raise ApiError(
            400,
            6003,
            "Invalid request headers",
            chain=[(6111, "Invalid format for Authorization header")],
        )
    if hmac.compare_digest(header.removeprefix("Bearer "), token):
        return
    if request.url.path.endswith("/user/tokens/verify"):
        raise ApiError(401, 1000, "Invalid API Token")
    raise ApiError(403, 9109, "Invalid access token")


class RateLimit:
    """Counts requests in fixed windows; a window that runs over blocks everything for another one.

    `requests` None: no limit. `clock` gives monotonic seconds.
    """

    def __init__(self, requests: int | None, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._clock = clock
        self._window_end = -math.inf
        self._blocked_until = -math.inf
        self._count = 0

    def admit(self) -> None:
        if self._requests is None:
            return
        now = self._clock()
        if now < self._blocked_until:
            raise self._refusal(now)
        if now >= self._window_end:
            self._window_end = now + WINDOW_SECONDS
            self._count = 0
        self._count += 1
        if self._count > self._requests:
            self._blocked_until = now + WINDOW_SECONDS
            raise self._refusal(now)

    def _refusal(self, now: float) -> ApiError:
        wait = str(math.ceil(self._blocked_until - now))
        return ApiError(
            429,
            971,
            "Please wait and consider throttling your request speed",
            headers={"Retry-After": wait},
        )
