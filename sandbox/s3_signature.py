"""Whose request it is: the check of Signature Version 4, in headers or in a presigned URL."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sandbox.s3_keys import AccessKey, KeyRing
from sandbox.s3_request import RefusedError, S3Request, access_denied
from sandbox.sigv4 import ALGORITHM, MOMENT, Scope, signature

_UNSIGNED = "UNSIGNED-PAYLOAD"
_LITERAL = frozenset({_UNSIGNED, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"})
_SKEW = timedelta(minutes=15)
_LONGEST_SECONDS = 7 * 24 * 3600
_FIELD = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
# They sign a presigned URL and are nothing to whom the request is for.
SIGNING_PARAMETERS = frozenset(
    {
        *("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires"),
        *("X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token"),
    }
)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says about who signed it, and how."""

    key: str
    scope: Scope
    moment: str
    signed: tuple[str, ...]
    signature: str
    payload: str
    expires_seconds: int | None  # of a presigned URL


def authenticate(request: S3Request, keys: KeyRing, now: datetime) -> AccessKey:
    """The key that signed the request. Raises: RefusedError."""
    claim = _of_header(request) if "authorization" in request.headers else _of_url(request)
    key = keys.find(claim.key)
    if key is None:
        message = "The AWS Access Key Id you provided does not exist in our records."
        raise RefusedError("403 Forbidden", "InvalidAccessKeyId", message)
    _check_time(claim, now)
    _check_headers(claim, request)
    expected = signature(
        key.secret,
        claim.scope,
        claim.moment,
        method=request.method,
        path=request.path,
        query=[pair for pair in request.parameters if pair[0] != "X-Amz-Signature"],
        headers={name: request.headers.get(name, "") for name in claim.signed},
        payload=claim.payload,
    )
    if not hmac.compare_digest(expected, claim.signature):
        message = (
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        )
        raise RefusedError("403 Forbidden", "SignatureDoesNotMatch", message)
    _check_body(claim, request)
    return key


def _of_header(request: S3Request) -> _Claim:
    text = request.headers["authorization"]
    fields = dict(_FIELD.findall(text))
    if not text.startswith(f"{ALGORITHM} ") or len(fields) != 3:
        message = "The sandbox checks Signature Version 4 only; set your client's signature version to 4."
        raise RefusedError("400 Bad Request", "AuthorizationHeaderMalformed", message)
    payload = request.headers.get("x-amz-content-sha256")
    if payload is None:
        message = "Missing required header for this request: x-amz-content-sha256"
        raise RefusedError("400 Bad Request", "InvalidRequest", message)
    moment = request.headers.get("x-amz-date", "")
    return _claim(fields["Credential"], fields["SignedHeaders"], fields["Signature"], moment, payload, None)


def _of_url(request: S3Request) -> _Claim:
    query = dict(request.parameters)
    if "X-Amz-Signature" not in query:
        raise access_denied()
    expires = query.get("X-Amz-Expires", "")
    if not (expires.isdecimal() and 0 < int(expires) <= _LONGEST_SECONDS):
        message = f"X-Amz-Expires must be between 1 and {_LONGEST_SECONDS} seconds, not {expires!r}"
        raise RefusedError("400 Bad Request", "AuthorizationQueryParametersError", message)
    credential, headers, signed, moment = (
        query.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders", "Signature", "Date")
    )
    payload = request.headers.get("x-amz-content-sha256", _UNSIGNED)
    return _claim(credential, headers, signed, moment, payload, int(expires))


def _claim(
    credential: str, headers: str, signed: str, moment: str, payload: str, expires_seconds: int | None
) -> _Claim:
    key, _, rest = credential.partition("/")
    scope = Scope.parse(rest)
    if scope is None or scope.service != "s3" or scope.day != moment[:8]:
        message = f'The credential "{credential}" does not fit the service s3 and the date {moment!r}.'
        raise RefusedError("400 Bad Request", "AuthorizationHeaderMalformed", message)
    names = tuple(headers.split(";"))
    return _Claim(key, scope, moment, names, signed, payload, expires_seconds)


def _check_time(claim: _Claim, now: datetime) -> None:
    try:
        signed = datetime.strptime(claim.moment, MOMENT).replace(tzinfo=UTC)
    except ValueError as error:
        raise access_denied(f"x-amz-date {claim.moment!r} is no time") from error
    if claim.expires_seconds is not None:
        if now > signed + timedelta(seconds=claim.expires_seconds):
            raise access_denied("Request has expired")
        too_far = signed - now > _SKEW
    else:
        too_far = abs(now - signed) > _SKEW
    if too_far:
        message = "The difference between the request time and the current time is too large."
        raise RefusedError("403 Forbidden", "RequestTimeTooSkewed", message)


def _check_headers(claim: _Claim, request: S3Request) -> None:
    unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in claim.signed]
    if claim.expires_seconds is not None:
        unsigned = [name for name in unsigned if name != "x-amz-content-sha256"]
    if "host" not in claim.signed or unsigned:
        raise access_denied("There were headers present in the request which were not signed")


def _check_body(claim: _Claim, request: S3Request) -> None:
    if claim.payload in _LITERAL:
        return
    if claim.payload.startswith("STREAMING-"):
        message = (
            f"The sandbox does not check bodies signed in pieces ({claim.payload}); send them signed whole."
        )
        raise RefusedError("501 Not Implemented", "NotImplemented", message)
    if hashlib.sha256(request.body).hexdigest() != claim.payload:
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise RefusedError("400 Bad Request", "XAmzContentSHA256Mismatch", message)
