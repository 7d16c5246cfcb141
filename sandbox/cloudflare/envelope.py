"""The form of Cloudflare's answers: one envelope for results, errors and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from sandbox.store import Document


class ApiError(Exception):
    """An error of the API: HTTP status, Cloudflare's own code and message, and what lies behind it.

    `chain` holds the (code, message) pairs of the envelope's `error_chain`.
    """

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        *,
        chain: Sequence[tuple[int, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.chain = tuple(chain)
        self.headers = dict(headers or {})

    def response(self) -> JSONResponse:
        error: Document = {"code": self.code, "message": self.message}
        if self.chain:
            error["error_chain"] = [{"code": code, "message": text} for code, text in self.chain]
        body = {"success": False, "errors": [error], "messages": [], "result": None}
        return JSONResponse(body, status_code=self.status, headers=self.headers)


def invalid_body(
    reason: str = "Failed to parse request body, content-type must be application/json",
) -> ApiError:
    return ApiError(400, 9207, reason)


def answer(result: Any, *, messages: Sequence[Document] = (), info: Document | None = None) -> JSONResponse:
    body: Document = {"result": result, "success": True, "errors": [], "messages": list(messages)}
    if info is not None:
        body["result_info"] = info
    return JSONResponse(body)


def page(request: Request, items: Sequence[Document], *, default: int, least: int, most: int) -> JSONResponse:
    """One page of a list; a page past the end is empty, as clients rely on to stop."""
    number = _whole(request, "page", 1, 1, 2**31)
    size = _whole(request, "per_page", default, least, most)
    shown = list(items[(number - 1) * size : number * size])
    info = {
        "page": number,
        "per_page": size,
        "count": len(shown),
        "total_count": len(items),
        "total_pages": math.ceil(len(items) / size),
    }
    return answer(shown, info=info)


async def json_object(request: Request) -> Document:
    """The request's JSON object; anything else is refused."""
    try:
        body = await request.json()
    except ValueError as error:
        raise invalid_body() from error
    if not isinstance(body, dict):
        raise invalid_body()
    return body


def refuse_unknown(body: Document, known: frozenset[str]) -> None:
    for field in body:
        if field not in known:
            raise invalid_body(f'Request body is invalid: unknown field "{field}".')


def _whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ApiError(400, 1002, f"Invalid value for {name}: {text!r} must be between {least} and {most}")
    return int(text)
