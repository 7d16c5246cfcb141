"""HTTP calls to a cloud, with the retry policy and the error texts of the official client."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import yarl

from sandbox.providers.session import Session


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failed calls are repeated; waits double from `first_wait` up to `longest_wait` (seconds)."""

    retries: int
    first_wait: float
    longest_wait: float
    statuses: frozenset[int] = frozenset()

    def wait(self, attempt: int) -> float:
        return min(self.longest_wait, self.first_wait * 2.0**attempt) * random.uniform(0.75, 1)  # noqa: S311

    def retries_status(self, status: int) -> bool:
        return status >= 500 or status == 429 or status in self.statuses


class ApiError(Exception):
    """An answer that is not a success, or none at all (`status` 0)."""

    def __init__(self, method: str, url: str, status: int, body: str, attempts: int) -> None:
        self.method, self.url, self.status, self.body, self.attempts = method, url, status, body, attempts
        super().__init__(self._text())

    @property
    def answer(self) -> Mapping[str, Any]:
        """The JSON object of the answer; empty when there is none."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    def _text(self) -> str:
        if not self.status:
            return f"{self.method} {self.url}: {self.body}" + self._tries()
        request = self.answer.get("request_id")
        label = f' (request "{request}")' if request else ""
        message = self.answer.get("message") or self.body.strip()
        return f"{self.method} {self.url}: {self.status}{label} {message}" + self._tries()

    def _tries(self) -> str:
        return f"; giving up after {self.attempts} attempt(s)" if self.attempts > 1 else ""


@dataclass(frozen=True, slots=True)
class Api:
    """A cloud's API as one engine may use it."""

    http: aiohttp.ClientSession
    session: Session
    base: str
    token: str
    retry: RetryPolicy
    agent: str
    per_second: float = 0

    async def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: Any) -> Any:
        return await self.call("POST", path, body=body)

    async def put(self, path: str, body: Any) -> Any:
        return await self.call("PUT", path, body=body)

    async def delete(self, path: str, body: Any = None) -> Any:
        return await self.call("DELETE", path, body=body)

    async def call(
        self, method: str, path: str, *, query: Mapping[str, str | int] | None = None, body: Any = None
    ) -> Any:
        """The JSON of a successful answer; None when it is empty.

        Raises: ApiError after the last try, CancelledByEngineError between tries.
        """
        url = yarl.URL(self.base.rstrip("/") + path, encoded=True).update_query(query or {})
        for attempt in range(self.retry.retries + 1):
            last = attempt == self.retry.retries
            await self.session.take_turn(self.per_second)
            try:
                async with self._request(method, url, body) as answer:
                    text = await answer.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                if last:
                    raise ApiError(method, str(url), 0, _reason(error), attempt + 1) from error
                await self.session.pause(self.retry.wait(attempt))
                continue
            if answer.status < 300:
                return _parse(method, str(url), answer.status, text)
            if last or not self._may_repeat(answer):
                raise ApiError(method, str(url), answer.status, text, attempt + 1)
            await self.session.pause(self._pause_before(attempt, answer))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _request(self, method: str, url: yarl.URL, body: Any) -> Any:
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json",
            "User-Agent": self.agent,
        }
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        return self.http.request(method, url, data=data, headers=headers)

    def _may_repeat(self, answer: aiohttp.ClientResponse) -> bool:
        wish = answer.headers.get("x-should-retry")
        return wish == "true" if wish in ("true", "false") else self.retry.retries_status(answer.status)

    def _pause_before(self, attempt: int, answer: aiohttp.ClientResponse) -> float:
        asked = answer.headers.get("Retry-After", "")
        return float(asked) if asked.isdigit() else self.retry.wait(attempt)


def _parse(method: str, url: str, status: int, text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ApiError(method, url, status, f"the answer is no JSON: {error}", 1) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
