"""The S3 client of the DigitalOcean provider: signed requests to one region's object storage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import aiohttp
import yarl

from sandbox.providers.call import Call, OperationError
from sandbox.providers.http import Api
from sandbox.sigv4 import authorization

_ENDPOINT = "https://{{.Region}}.digitaloceanspaces.com"
_REGION = re.compile(r"\{\{\s*\.Region\s*\}\}")
# The plugin signs for this one wherever the bucket is.
_SIGNING_REGION = "us-east-1"


class S3Error(Exception):
    """An answer that is not a success; `code` is S3's word for it, empty when there was no answer at all."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code = status, code
        super().__init__(f"{code}: {message}" if code else message)


@dataclass(frozen=True, slots=True)
class Spaces:
    """Object storage of one region, as one engine may use it; `regional`: whether the endpoint is the region's own."""

    api: Api
    endpoint: yarl.URL
    regional: bool
    key: tuple[str, str]

    async def call(
        self,
        method: str,
        bucket: str,
        query: str = "",
        body: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> ElementTree.Element | None:
        """The document of a successful answer; None when it is empty.

        Raises: S3Error after the last try, CancelledByEngineError between tries.
        """
        retry = self.api.retry
        for attempt in range(retry.retries + 1):
            try:
                status, text = await self._try(method, bucket, query, body.encode(), headers or {})
                if status < 300:
                    return _parse(text)
                failure = _failure(status, text)
            except (aiohttp.ClientError, TimeoutError) as error:
                failure = S3Error(0, "", f"{method} {self.endpoint}: {error or type(error).__name__}")
            if attempt == retry.retries or not (failure.status == 0 or retry.retries_status(failure.status)):
                raise failure
            await self.api.session.pause(retry.wait(attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _try(
        self, method: str, bucket: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        path = f"{self.endpoint.raw_path.rstrip('/')}/{bucket}"
        sent = {"host": self.endpoint.raw_authority, **headers}
        pairs = parse_qsl(query, keep_blank_values=True)
        now = datetime.now(UTC)
        sent |= authorization(self.key, method, path, pairs, sent, body, now=now, region=_SIGNING_REGION)
        url = yarl.URL.build(
            scheme=self.endpoint.scheme,
            authority=self.endpoint.raw_authority,
            path=path,
            query_string=query,
            encoded=True,
        )
        async with self.api.http.request(method, url, data=body, headers=sent) as answer:
            return answer.status, await answer.read()


async def spaces(call: Call, region: str) -> Spaces:
    """The object storage that the engine's configuration names. Raises: OperationError without credentials."""
    configured = call.session.configuration or {}
    environment = call.session.environment
    template = configured.get("spacesEndpoint") or await environment("SPACES_ENDPOINT_URL") or _ENDPOINT
    key = configured.get("spacesAccessId") or await environment("SPACES_ACCESS_KEY_ID")
    secret = configured.get("spacesSecretKey") or await environment("SPACES_SECRET_ACCESS_KEY")
    if not key or not secret:
        raise OperationError("Spaces credentials not configured")
    endpoint, places = _REGION.subn(region, template)
    return Spaces(call.api, yarl.URL(endpoint), places > 0, (key, secret))


def text_of(document: ElementTree.Element | None, name: str) -> str:
    """The text of the first element of that name, whatever its namespace; empty when there is none."""
    found = elements(document, name)
    return (found[0].text or "") if found else ""


def elements(document: ElementTree.Element | None, name: str) -> list[ElementTree.Element]:
    """All elements of that name, the document itself included."""
    if document is None:
        return []
    return [element for element in document.iter() if element.tag.rpartition("}")[2] == name]


def _parse(text: bytes) -> ElementTree.Element | None:
    # The cloud's own answer to a signed request.
    return ElementTree.fromstring(text) if text.strip() else None  # noqa: S314


def _failure(status: int, text: bytes) -> S3Error:
    try:
        document = _parse(text)
    except ElementTree.ParseError:
        document = None
    if document is None:  # a HEAD has no body
        return S3Error(status, "NotFound" if status == 404 else str(status), f"status code: {status}")
    return S3Error(status, text_of(document, "Code"), text_of(document, "Message"))
