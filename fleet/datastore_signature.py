"""AWS Signature Version 4 for S3, with a request's headers; standard library only, for machines have nothing else.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import quote

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens a bucket."""

    access: str
    secret: str = field(repr=False)


def encoded(text: str, *, keep: str = "") -> str:
    """As the signature wants it: everything but letters, digits and -._~ as %XX."""
    return quote(text, safe=f"-._~{keep}")


def query_string(pairs: Sequence[tuple[str, str]]) -> str:
    """A query in the one order that both sides sign."""
    return "&".join(f"{name}={value}" for name, value in sorted((encoded(n), encoded(v)) for n, v in pairs))


def sign(
    keys: Keys, region: str, method: str, path: str, query: str, host: str, body: bytes, at: datetime
) -> Mapping[str, str]:
    """The headers that prove a request is ours; `path` and `query` as they are sent, `at` in UTC."""
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = "\n".join([method, path, query, lines, names, digest])
    to_sign = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return {
        "x-amz-content-sha256": digest,
        "x-amz-date": stamp,
        "Authorization": f"{_ALGORITHM} Credential={keys.access}/{scope}, SignedHeaders={names}, "
        f"Signature={signature}",
    }
