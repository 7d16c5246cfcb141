"""DigitalOcean's rate limit: so many requests in an hour, and in a minute at most a twentieth of them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from sandbox.api.errors import ApiError
from sandbox.api.settings import RateLimits

_MINUTE, _HOUR = 60.0, 3600.0


class TooManyRequestsError(ApiError):
    """Refused by the rate limit; try again after so many seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(429, "too_many_requests", "API rate limit exceeded.")
        self.retry_after = retry_after


class RateLimit:
    """Counts the requests of one token in sliding windows.

    https://docs.digitalocean.com/reference/api/intro/ (rate limit); `limits` None counts nothing and refuses nothing.
    """

    def __init__(self, limits: RateLimits | None, clock: Callable[[], float] = time.time) -> None:
        self._limits = limits
        self._clock = clock
        self._seen: deque[float] = deque()

    def admit(self) -> None:
        """Count a request; TooManyRequestsError when it is one too many."""
        if self._limits is None:
            return
        now = self._clock()
        self._forget(now)
        if len(self._seen) >= self._limits.per_hour:
            raise TooManyRequestsError(_seconds(self._seen[0] + _HOUR - now))
        last_minute = len(self._seen) - self._limits.per_minute
        if last_minute >= 0 and self._seen[last_minute] > now - _MINUTE:
            raise TooManyRequestsError(_seconds(self._seen[last_minute] + _MINUTE - now))
        self._seen.append(now)

    def headers(self) -> dict[str, str]:
        """The three headers of every answer: allowed, left, and when the oldest request stops counting (epoch)."""
        if self._limits is None:
            return {}
        now = self._clock()
        self._forget(now)
        reset = self._seen[0] + _HOUR if self._seen else now
        return {
            "ratelimit-limit": str(self._limits.per_hour),
            "ratelimit-remaining": str(self._limits.per_hour - len(self._seen)),
            "ratelimit-reset": str(math.ceil(reset)),
        }

    def _forget(self, now: float) -> None:
        while self._seen and self._seen[0] <= now - _HOUR:
            self._seen.popleft()


def _seconds(delay: float) -> int:
    return max(1, math.ceil(delay))
