"""How often the API may be called."""

from __future__ import annotations

import math
from collections.abc import Callable

from sandbox.cloudflare.envelope import ApiError

# https://developers.cloudflare.com/fundamentals/api/reference/limits/: 1200 requests in five minutes,
# then every call is refused for the next five minutes.
REQUESTS_PER_WINDOW = 1200
WINDOW_SECONDS = 300.0


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
