"""Who may do what in object storage: signatures as an official client makes them, and the grants of keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.s3_keys import AccessKey, KeyRing, full_access, write_keys
from sandbox.s3_request import Place, RefusedError, S3Request, authorize
from sandbox.s3_signature import authenticate
from sandbox.sigv4 import authorization

KEY, SECRET = "DO00KEY", "secret/with+signs"
URL = "https://datastore.lon1.digitaloceanspaces.com/ips/web/web-1"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    write_keys(tmp_path / "keys.json", [full_access(KEY, SECRET)])
    return KeyRing(tmp_path / "keys.json")


def signed(
    method: str = "GET",
    url: str = URL,
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    auth: Callable[..., SigV4Auth] = S3SigV4Auth,
) -> S3Request:
    """A request signed by the official client's own code."""
    parts = urlsplit(url)
    asked = AWSRequest(method=method, url=url, data=body, headers={"Host": parts.netloc, **(headers or {})})
    auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(asked)
    parts = urlsplit(asked.url)
    sent = {name.lower(): value for name, value in asked.headers.items()}
    return S3Request(method, parts.path or "/", parts.query, sent, body)


def changed(request: S3Request, **parts: Any) -> S3Request:
    known = {name: getattr(request, name) for name in ("method", "path", "query", "headers", "body")}
    return S3Request(**{**known, **parts})


def refusal(request: S3Request, keys: KeyRing, at: datetime | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        authenticate(request, keys, at or now())
    return caught.value.code


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("GET", URL, b""),
        ("PUT", URL, b'{"version": 1}'),
        ("PUT", "http://127.0.0.1:7393/datastore/odd%20name%2B%C3%A9~", b"x"),
        ("GET", "https://lon1.digitaloceanspaces.com/datastore?list-type=2&prefix=ips%2F&delimiter=", b""),
        ("PUT", "https://datastore.lon1.digitaloceanspaces.com/?versioning", b"<V/>"),
    ],
)
def test_what_the_official_client_signs_is_accepted(
    keys: KeyRing, method: str, url: str, body: bytes
) -> None:
    request = signed(method, url, body, headers={"If-None-Match": "*", "x-amz-acl": "private"})
    assert authenticate(request, keys, now()).id == KEY


@settings(max_examples=50)
@given(
    path=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    query=st.dictionaries(
        st.sampled_from("abc"), st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    ),
)
def test_our_own_signature_is_the_official_one(path: str, query: dict[str, str]) -> None:
    """Byte for byte, whatever is in names and values: a client and a server of ours could agree on a mistake."""
    sent_path = f"/datastore/{quote(path, safe='~')}"
    line = urlencode(query, quote_via=quote, safe="~")
    official = signed("GET", f"https://lon1.digitaloceanspaces.com{sent_path}?{line}")
    moment = datetime.strptime(official.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = authorization(
        (KEY, SECRET),
        "GET",
        sent_path,
        query.items(),
        {"host": "lon1.digitaloceanspaces.com"},
        b"",
        now=moment,
        region="us-east-1",
    )
    assert ours["authorization"] == official.headers["authorization"]


def test_a_changed_request_is_refused(keys: KeyRing) -> None:
    request = signed("PUT", URL, b"10.20.0.2", headers={"x-amz-acl": "private"})
    other_acl = {**request.headers, "x-amz-acl": "public-read"}
    added = {**request.headers, "x-amz-copy-source": "/backups/dump"}
    assert refusal(changed(request, path="/ips/web/web-2"), keys) == "SignatureDoesNotMatch"
    assert refusal(changed(request, method="DELETE"), keys) == "SignatureDoesNotMatch"
    assert refusal(changed(request, query="acl"), keys) == "SignatureDoesNotMatch"
    assert refusal(changed(request, headers=other_acl), keys) == "SignatureDoesNotMatch"
    assert refusal(changed(request, headers=added), keys) == "AccessDenied"
    assert refusal(changed(request, body=b"10.20.0.3"), keys) == "XAmzContentSHA256Mismatch"


def test_an_old_request_is_not_taken_again(keys: KeyRing) -> None:
    for late in (timedelta(minutes=16), -timedelta(minutes=16)):
        assert refusal(signed(), keys, now() + late) == "RequestTimeTooSkewed"


def test_a_presigned_url_holds_for_its_time(keys: KeyRing) -> None:
    def presign(*arguments: str) -> SigV4Auth:
        return S3SigV4QueryAuth(*arguments, expires=60)

    request = signed(auth=presign)
    assert authenticate(request, keys, now()).id == KEY
    assert refusal(request, keys, now() + timedelta(seconds=62)) == "AccessDenied"
    assert refusal(changed(request, method="PUT"), keys) == "SignatureDoesNotMatch"
    longer = request.query.replace("X-Amz-Expires=60", "X-Amz-Expires=600")
    assert refusal(changed(request, query=longer), keys) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "AccessDenied"),
        ({"authorization": "AWS DO00KEY:abcd"}, "AuthorizationHeaderMalformed"),
        (
            {"authorization": "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=0"},
            "InvalidRequest",
        ),
        (
            {
                "authorization": "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0",
                "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            },
            "AuthorizationHeaderMalformed",
        ),
    ],
)
def test_what_is_not_signed_is_refused(keys: KeyRing, headers: dict[str, str], code: str) -> None:
    assert refusal(S3Request("GET", "/", "", {"host": "localhost", **headers}, b""), keys) == code


def test_without_a_file_of_keys_nobody_is_known(tmp_path: Path) -> None:
    assert refusal(signed(), KeyRing(tmp_path / "none")) == "InvalidAccessKeyId"


READ, WRITE, FULL = "read", "readwrite", "fullaccess"


@pytest.mark.parametrize(
    ("line", "least"),
    [
        ("HEAD /datastore", READ),
        ("GET /datastore?list-type=2", READ),
        ("GET /datastore?versions", READ),
        ("GET /datastore/a", READ),
        ("HEAD /datastore/a?versionId=7", READ),
        ("PUT /datastore/a", WRITE),
        ("DELETE /datastore/a?versionId=7", WRITE),
        ("POST /datastore?delete", WRITE),
        ("POST /datastore/a?uploads", WRITE),
        ("PUT /datastore/a?partNumber=1&uploadId=7", WRITE),
        ("GET /datastore?acl", FULL),
        ("PUT /datastore/a?acl", FULL),
        ("GET /datastore?versioning", FULL),
        ("PUT /datastore?policy", FULL),
        ("PUT /datastore", FULL),
        ("DELETE /datastore", FULL),
        ("POST /datastore?policy&delete", FULL),
        ("GET /", FULL),
    ],
)
def test_each_operation_needs_its_permission(line: str, least: str) -> None:
    method, _, target = line.partition(" ")
    path, _, query = target.partition("?")
    request = S3Request(method, path, query, {"host": "127.0.0.1"}, b"")
    order = ["", READ, WRITE, FULL]
    for permission in order:
        granted = AccessKey("k", "s", (("other", WRITE), ("datastore", permission)))
        if order.index(permission) >= order.index(least):
            authorize(granted, request)
        else:
            with pytest.raises(RefusedError) as caught:
                authorize(granted, request)
            assert caught.value.code == "AccessDenied"


def test_a_copy_needs_to_read_its_source() -> None:
    key = AccessKey("k", "s", (("datastore", WRITE), ("backups", READ)))
    for source, allowed in (("/backups/dump", True), ("backups/dump", True), ("%2Fsecrets/x", False)):
        request = S3Request(
            "PUT", "/datastore/a", "", {"host": "localhost", "x-amz-copy-source": source}, b""
        )
        if allowed:
            authorize(key, request)
        else:
            with pytest.raises(RefusedError):
                authorize(key, request)


@pytest.mark.parametrize(
    ("host", "path", "place"),
    [
        ("lon1.digitaloceanspaces.com", "/datastore/a", Place("lon1", "datastore", "a", "/datastore/a")),
        (
            "datastore.lon1.digitaloceanspaces.com:443",
            "/a%2Fb",
            Place("lon1", "datastore", "a/b", "/datastore/a%2Fb"),
        ),
        ("127.0.0.1:7393", "/datastore", Place(None, "datastore", "", "/datastore")),
        ("datastore.localhost:7393", "/a", Place(None, "datastore", "a", "/datastore/a")),
        ("datastore.127.0.0.1", "/a", Place(None, "datastore", "a", "/datastore/a")),
        ("storage.test", "/datastore/a", Place(None, "datastore", "a", "/datastore/a")),
    ],
)
def test_a_bucket_is_named_by_host_or_path(host: str, path: str, place: Place) -> None:
    assert Place.of(host, path) == place
