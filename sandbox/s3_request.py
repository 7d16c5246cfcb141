"""What a request to object storage is about: which bucket, which object, in which region; and whether it may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sandbox.s3_keys import Access, AccessKey

# https://docs.digitalocean.com/reference/api/spaces/: <region>.digitaloceanspaces.com
DOMAIN = "digitaloceanspaces.com"
_BARE = re.compile(r"(?:(?P<bucket>.+)\.)?(?:\d{1,3}(?:\.\d{1,3}){3}|localhost)")
# Questions to a bucket that its readers may ask; all others are about how it is set up.
_LISTING = frozenset({"versions", "uploads", "location"})
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html: parameters that name another operation.
_OPERATIONS = frozenset(
    {
        *(
            "accelerate",
            "acl",
            "analytics",
            "cors",
            "delete",
            "encryption",
            "intelligent-tiering",
            "inventory",
        ),
        *("legal-hold", "lifecycle", "location", "logging", "metrics", "notification", "object-lock"),
        *(
            "ownershipControls",
            "policy",
            "policyStatus",
            "publicAccessBlock",
            "replication",
            "requestPayment",
        ),
        *(
            "restore",
            "retention",
            "select",
            "tagging",
            "torrent",
            "uploads",
            "versioning",
            "versions",
            "website",
        ),
    }
)


class RefusedError(Exception):
    """A request that is not answered; `code` is S3's word for why.

    https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def access_denied(message: str = "Access Denied.") -> RefusedError:
    return RefusedError("403 Forbidden", "AccessDenied", message)


@dataclass(frozen=True, slots=True)
class S3Request:
    """One request; header names in lower case, `path` and `query` as they were sent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, environ: Mapping[str, Any], body: bytes) -> S3Request:
        """From a WSGI environment whose server keeps the request's target as it came."""
        # A client that takes us for a proxy sends the whole URL.
        target = urlsplit(environ["RAW_URI"])
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        }
        if target.netloc:
            headers["host"] = target.netloc
        return cls(environ["REQUEST_METHOD"], target.path or "/", target.query, headers, body)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        # A plus is a plus here, other than in forms.
        return parse_qsl(self.query.replace("+", "%2B"), keep_blank_values=True)

    @property
    def place(self) -> Place:
        return Place.of(self.headers.get("host", ""), self.path)

    @property
    def operation(self) -> str | None:
        """The parameter that makes it another operation than its method alone: `acl`, `versioning`, ..."""
        return next((name for name, _ in self.parameters if name in _OPERATIONS), None)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes: the region when the host tells one, the bucket, the object's key, and the path with the
    bucket in it, whether or not the host had it."""

    region: str | None
    bucket: str
    key: str
    path: str

    @classmethod
    def of(cls, host: str, path: str) -> Place:
        name = host.partition(":")[0].lower()
        region, bucket = None, None
        if name.endswith(f".{DOMAIN}"):
            front, _, region = name.removesuffix(f".{DOMAIN}").rpartition(".")
            bucket = front or None
        elif (match := _BARE.fullmatch(name)) is not None:
            bucket = match["bucket"]
        whole = path if bucket is None else f"/{bucket}{path}"
        named, _, key = unquote(whole).removeprefix("/").partition("/")
        return cls(region, named, key, whole)


def needed(request: S3Request) -> Access:
    """What the request's key must hold on its bucket."""
    place, operation = request.place, request.operation
    if not place.bucket:
        return Access.FULLACCESS
    reading = request.method in ("GET", "HEAD")
    if place.key:
        if operation == "acl":
            return Access.FULLACCESS
        return Access.READ if reading else Access.READWRITE
    if operation is None:
        return Access.READ if reading else Access.FULLACCESS
    if reading and operation in _LISTING:
        return Access.READ
    return Access.READWRITE if request.method == "POST" and operation == "delete" else Access.FULLACCESS


def authorize(key: AccessKey, request: S3Request) -> None:
    """Raises: RefusedError when the key's grants do not reach as far as the request."""
    if key.access(request.place.bucket) < needed(request):
        raise access_denied()
    source = unquote(request.headers.get("x-amz-copy-source", "")).removeprefix("/").partition("/")[0]
    if source and key.access(source) < Access.READ:
        raise access_denied()
