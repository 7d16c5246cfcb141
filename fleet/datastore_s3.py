"""A bucket of an S3 service: list, get, put, delete, all bounded in time and size.

Standard library only: it runs on machines as well. Errors are StoreErrors that name the bucket and what to do;
bodies of error answers are never repeated but for S3's own short code.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from fleet.datastore_signature import Keys, encoded, query_string, sign
from fleet.datastore_xml import Document, XmlError

STEP_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 30.0
LARGEST_OBJECT: Final = 1024 * 1024
LARGEST_PAGE: Final = 2 * 1024 * 1024
# What S3 gives at most: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
PAGE: Final = 1000
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
SKEWED: Final = "RequestTimeTooSkewed"


class StoreError(Exception):
    """The datastore does not do what was asked; the text says what is the matter."""


class AbsentError(StoreError):
    """There is no such object."""


class DeniedError(StoreError):
    """The key has no right to do this."""


class ConflictError(StoreError):
    """The object is not as the condition of a write wants it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is."""

    endpoint: str  # URL without a path
    bucket: str
    region: str

    def __str__(self) -> str:
        return f"datastore {self.bucket} at {self.endpoint}"


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a list has it."""

    key: str
    etag: str
    size: int
    modified: float  # by the store's clock, in seconds since 1970


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects, and what the store's clock said when it listed them."""

    objects: tuple[Listed, ...]
    now: float
    complete: bool  # False when there are more than were asked for


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer read to its end."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def now(self) -> float:
        """The store's clock. Raises StoreError when it does not tell."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except ValueError:
            raise StoreError("an answer has no time; is that an S3 service?") from None


Connect = Callable[[], http.client.HTTPConnection]


class Bucket:
    """One bucket, over one connection that is kept while it lasts. Close it, or use it in a `with`."""

    def __init__(self, place: Place, keys: Keys, *, connect: Connect | None = None) -> None:
        self._place = place
        self._keys = keys
        self._host = urlsplit(place.endpoint).netloc
        self._connect = connect or (lambda: _connection(place.endpoint))
        self._connection: http.client.HTTPConnection | None = None
        self._skew = timedelta()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def list(self, prefix: str, *, limit: int) -> Listing:
        """Objects whose keys begin so, in the order of their keys; `limit` at most."""
        found: list[Listed] = []
        token = ""
        while True:
            pairs = [("encoding-type", "url"), ("list-type", "2"), ("max-keys", str(min(PAGE, limit)))]
            pairs += [("prefix", prefix)] + ([("continuation-token", token)] if token else [])
            answer = self._must("GET", "", pairs, largest=LARGEST_PAGE)
            page, token = _page(answer.body)
            found += page
            if not token or len(found) >= limit:
                return Listing(tuple(found[:limit]), answer.now, not token and len(found) <= limit)

    def get(self, key: str, *, largest: int = LARGEST_OBJECT) -> tuple[bytes, str]:
        """An object's content and its ETag. Raises AbsentError."""
        answer = self._must("GET", key, largest=largest)
        return answer.body, answer.headers.get("etag", "")

    def exists(self, key: str) -> bool:
        try:
            self._must("HEAD", key)
        except AbsentError:
            return False
        return True

    def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str = "") -> str:
        """Write an object; returns its ETag. Raises ConflictError when a condition was given and does not hold."""
        # DigitalOcean takes an ETag here without its quotes only: https://github.com/slatedb/slatedb/issues/1818
        known = {"If-Match": if_match.strip('"')} if if_match else {}
        headers = {"If-None-Match": "*"} if if_absent else known
        return self._must("PUT", key, body=body, headers=headers).headers.get("etag", "")

    def delete(self, key: str) -> None:
        """Remove an object, also when there is none; with versioning its content can be had back."""
        self._must("DELETE", key)

    def versioned(self) -> bool | None:
        """Whether the bucket keeps what is overwritten and deleted; None: a role's key may not ask."""
        try:
            answer = self._must("GET", "", [("versioning", "")])
        except DeniedError:
            return None
        try:
            return Document(answer.body).texts.get("Status") == "Enabled"
        except XmlError as error:
            raise StoreError(f"the bucket's versioning cannot be read: {error}") from error

    def _must(
        self,
        method: str,
        key: str,
        pairs: Sequence[tuple[str, str]] = (),
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        largest: int = LARGEST_OBJECT,
    ) -> Answer:
        """The answer to a request that has to succeed."""
        path = f"/{self._place.bucket}" + (f"/{encoded(key, keep='/')}" if key else "")
        request = _Request(method, path, query_string(pairs), body, headers or {}, largest)
        answer = self._exchange(request)
        if not self._skew and answer.status == 403 and _code(answer.body) == SKEWED:
            # A machine whose clock is wrong is well otherwise, and must not be taken for gone.
            self._skew = timedelta(seconds=answer.now - time.time())
            answer = self._exchange(request)
        if answer.status >= 300:
            raise _refusal(f"{method} {key or 'the bucket'} in {self._place}", answer)
        return answer

    def _exchange(self, request: _Request) -> Answer:
        # The other side may have closed a kept connection. A write with a condition is not sent twice: if the first
        # one did arrive, the second would be refused because of it.
        again = self._connection is not None and not request.headers
        while True:
            try:
                return self._once(request)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                if not again or not isinstance(error, ConnectionError):
                    why = str(error) or repr(error)
                    raise StoreError(f"{self._place} cannot be reached: {why}") from error
                again = False

    def _once(self, request: _Request) -> Answer:
        signed = sign(
            self._keys,
            self._place.region,
            request.method,
            request.path,
            request.query,
            self._host,
            request.body,
            datetime.now(UTC) + self._skew,
        )
        url = f"{request.path}?{request.query}" if request.query else request.path
        if self._connection is None:
            self._connection = self._connect()
        headers = {**request.headers, **signed, "User-Agent": "flotilla"}
        self._connection.request(request.method, url, body=request.body or None, headers=headers)
        return _read(self._connection.getresponse(), request.largest)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: str
    body: bytes
    headers: Mapping[str, str]
    largest: int


def _connection(endpoint: str) -> http.client.HTTPConnection:
    parts = urlsplit(endpoint)
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.netloc, timeout=STEP_SECONDS)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(parts.netloc, timeout=STEP_SECONDS, context=context)


def _read(response: http.client.HTTPResponse, largest: int) -> Answer:
    end = time.monotonic() + TOTAL_SECONDS
    body = b""
    while chunk := response.read1(65536):
        body += chunk
        if len(body) > largest:
            raise ValueError(f"an answer is larger than {largest} bytes")
        if time.monotonic() > end:
            raise TimeoutError(f"an answer takes longer than {TOTAL_SECONDS:g} s")
    response.close()  # else the connection takes no further request
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body)


def _refusal(what: str, answer: Answer) -> StoreError:
    code = _code(answer.body)
    said = f"{what}: {answer.status} {code}".rstrip()
    match answer.status, code:
        case 404, "NoSuchBucket":
            return StoreError(f"{said}; there is no such bucket, `pulumi up` makes it")
        case 404, _:
            return AbsentError(said)
        case 412 | 409, _:
            return ConflictError(f"{said}; somebody else has written it meanwhile, or it is there already")
        case 403, code if code == SKEWED:
            return StoreError(f"{said}; this machine's clock is wrong")
        case 403, _:
            return DeniedError(f"{said}; the key has no right to do this, or is not the bucket's")
    return StoreError(said)


def _code(body: bytes) -> str:
    """S3's short word for what is wrong; empty when the answer has none."""
    try:
        code = Document(body).texts.get("Code", "")
    except XmlError:
        return ""
    return code if code.isalnum() and len(code) < 60 else ""


def _page(body: bytes) -> tuple[list[Listed], str]:
    """The objects of a page, and the token of the next one, empty when it is the last."""
    try:
        document = Document(body, "Contents")
        return [_listed(entry) for entry in document.entries], document.texts.get("NextContinuationToken", "")
    except (XmlError, KeyError, ValueError) as error:
        raise StoreError(f"a list cannot be read: {error}") from error


def _listed(entry: Mapping[str, str]) -> Listed:
    moment = datetime.fromisoformat(entry["LastModified"])
    if moment.tzinfo is None:
        raise ValueError(f"the time {entry['LastModified'][:40]!r} has no zone")
    return Listed(unquote(entry["Key"]), entry.get("ETag", ""), int(entry["Size"]), moment.timestamp())
