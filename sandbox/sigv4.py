"""AWS Signature Version 4, as requests to object storage carry it.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
MOMENT = "%Y%m%dT%H%M%SZ"
_TERMINATOR = "aws4_request"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is good for: one day (YYYYMMDD), one region, one service."""

    day: str
    region: str
    service: str = "s3"

    @classmethod
    def parse(cls, text: str) -> Scope | None:
        """`20261121/us-east-1/s3/aws4_request` as a scope; None when it is none."""
        parts = text.split("/")
        return cls(*parts[:3]) if len(parts) == 4 and parts[3] == _TERMINATOR else None

    def __str__(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/{_TERMINATOR}"


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """Decoded names and values in the form that is signed."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def signature(
    secret: str,
    scope: Scope,
    moment: str,
    *,
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    payload: str,
) -> str:
    """The signature in hexadecimal digits.

    `path` as it is sent, `query` decoded and without the signature itself, `headers` those that are signed, by
    their names in lower case; `payload` is the hash of the body or what stands for it.
    """
    names = sorted(headers)
    request = "\n".join(
        [
            method,
            path,
            canonical_query(query),
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            ";".join(names),
            payload,
        ]
    )
    text = "\n".join([ALGORITHM, moment, str(scope), hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (scope.day, scope.region, scope.service, _TERMINATOR):
        key = _keyed(key, part)
    return _keyed(key, text).hex()


def authorization(
    key: tuple[str, str],
    method: str,
    path: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    region: str,
) -> dict[str, str]:
    """The headers that sign a request of the access key (id, secret); `headers` must name the host."""
    moment, payload = now.astimezone(UTC).strftime(MOMENT), hashlib.sha256(body).hexdigest()
    scope = Scope(moment[:8], region)
    added = {"x-amz-date": moment, "x-amz-content-sha256": payload}
    signed = {name.lower(): value for name, value in headers.items()} | added
    found = signature(
        key[1], scope, moment, method=method, path=path, query=query, headers=signed, payload=payload
    )
    parts = (
        f"Credential={key[0]}/{scope}",
        f"SignedHeaders={';'.join(sorted(signed))}",
        f"Signature={found}",
    )
    return {**added, "authorization": f"{ALGORITHM} {', '.join(parts)}"}


def _keyed(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
