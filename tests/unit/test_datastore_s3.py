"""The S3 client: signed as others sign it, bounded, and clear about what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]  # ships no types
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from fleet.datastore_s3 import AbsentError, Bucket, ConflictError, Place, StoreError
from fleet.datastore_signature import Keys, encoded, query_string, sign
from fleet.datastore_xml import Document, XmlError
from tests.small_s3 import SmallS3, small_s3

AT = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
HOST = "lon1.digitaloceanspaces.com"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@pytest.fixture(scope="module")
def served() -> Iterator[SmallS3]:
    with small_s3() as store:
        yield store


@pytest.fixture
def store(served: SmallS3) -> SmallS3:
    served.objects.clear()
    served.asked.clear()
    served.fault = lambda *_: None
    served.page = 1000
    served.strict_time = False
    return served


@given(
    key=TEXT,
    pairs=st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=4, unique_by=lambda pair: pair[0]),
    body=st.binary(max_size=50),
    secret=TEXT.filter(bool),
)
def test_requests_are_signed_as_the_official_client_signs_them(
    key: str, pairs: list[tuple[str, str]], body: bytes, secret: str
) -> None:
    path, query = f"/bucket/{encoded(key, keep='/')}", query_string(pairs)
    ours = sign(Keys("ACCESS", secret), "lon1", "PUT", path, query, HOST, body, AT)
    request = AWSRequest(method="PUT", url=f"https://{HOST}{path}?{query}", data=body)
    request.context["timestamp"] = ours["x-amz-date"]
    request.headers["X-Amz-Date"] = ours["x-amz-date"]
    request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    auth = S3SigV4Auth(Credentials("ACCESS", secret), "s3", "lon1")
    theirs = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert ours["Authorization"].endswith(f"Signature={theirs}")


def test_what_is_put_can_be_listed_had_and_deleted(store: SmallS3) -> None:
    with store.bucket() as bucket:
        etag = bucket.put("ips/web/a b+c%é", b"one")
        listing = bucket.list("ips/", limit=10)
        assert [(each.key, each.etag, each.size) for each in listing.objects] == [
            ("ips/web/a b+c%é", etag, 3)
        ]
        assert (listing.now, listing.objects[0].modified) == (store.now, store.now)
        assert bucket.get("ips/web/a b+c%é") == (b"one", etag)
        assert bucket.versioned()
        bucket.delete("ips/web/a b+c%é")
        assert not bucket.exists("ips/web/a b+c%é")
        with pytest.raises(AbsentError):
            bucket.get("ips/web/a b+c%é")


def test_a_long_list_comes_in_pages_and_ends_at_its_limit(store: SmallS3) -> None:
    for number in range(25):
        store.lay(f"ips/web/web-{number:02}", b"x")
    store.page = 10
    with store.bucket() as bucket:
        whole = bucket.list("ips/", limit=100)
        assert (len(whole.objects), whole.complete) == (25, True)
        part = bucket.list("ips/", limit=12)
        assert (len(part.objects), part.complete) == (12, False)
        assert bucket.list("ips/", limit=25).complete


def test_writes_that_must_not_race_are_refused_when_they_do(store: SmallS3) -> None:
    with store.bucket() as bucket:
        first = bucket.put("x", b"1", if_absent=True)
        with pytest.raises(ConflictError, match="meanwhile"):
            bucket.put("x", b"2", if_absent=True)
        bucket.put("x", b"3", if_match=first)
        with pytest.raises(ConflictError):
            bucket.put("x", b"4", if_match=first)
        assert bucket.get("x")[0] == b"3"


def test_a_wrong_key_is_named_and_never_shown(store: SmallS3) -> None:
    with store.bucket(Keys("DO00ACCESS", "another")) as bucket, pytest.raises(StoreError) as error:
        bucket.get("x")
    assert "403 SignatureDoesNotMatch" in str(error.value)
    assert "another" not in str(error.value) + repr(Keys("a", "another"))


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"<Error><Code>NoSuchBucket</Code></Error>", "no such bucket, `pulumi up` makes it"),
        (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>", "this machine's clock is wrong"),
        (403, b"<Error><Code>AccessDenied</Code></Error>", "has no right"),
        (500, b"\xff\xfe not XML", "500"),
        (503, b"<!DOCTYPE x><Error><Code>SlowDown</Code></Error>", "503"),
        (301, b"", "301"),
    ],
)
def test_refusals_say_what_is_the_matter(store: SmallS3, status: int, body: bytes, message: str) -> None:
    store.fault = lambda *_: (status, body)
    with store.bucket() as bucket, pytest.raises(StoreError, match=message) as error:
        bucket.get("x")
    assert "datastore-1a2b3c4" in str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<ListBucketResult><Contents></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>1</Size><LastModified>now</LastModified></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>1</Size><LastModified>2026-01-01T00:00:00</LastModified></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>"
        + b"9" * 5000
        + b"</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>",
        b"<a>" * 50,
        b'<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>',
    ],
)
def test_a_list_that_is_none_is_refused(store: SmallS3, body: bytes) -> None:
    store.fault = lambda *_: (200, body)
    with store.bucket() as bucket, pytest.raises(StoreError, match="a list cannot be read"):
        bucket.list("ips/", limit=10)


def test_an_answer_that_is_too_large_is_not_read_to_its_end(store: SmallS3) -> None:
    store.lay("x", b"x" * 5000)
    with store.bucket() as bucket, pytest.raises(StoreError, match="larger than 4096 bytes"):
        bucket.get("x", largest=4096)


def test_a_machine_whose_clock_is_wrong_goes_by_the_stores(store: SmallS3) -> None:
    store.strict_time = True
    with store.bucket() as bucket:
        bucket.put("x", b"1")
        assert bucket.get("x")[0] == b"1"
    assert store.asked == [("PUT", "x"), ("PUT", "x"), ("GET", "x")]


def test_a_store_that_is_away_is_named(unused_tcp_port: int) -> None:
    place = Place(f"http://127.0.0.1:{unused_tcp_port}", "datastore-1", "lon1")
    with (
        Bucket(place, Keys("a", "b")) as bucket,
        pytest.raises(StoreError, match=r"datastore-1 at .* cannot be"),
    ):
        bucket.list("ips/", limit=10)


def test_a_kept_connection_that_was_closed_is_opened_again(store: SmallS3) -> None:
    store.lay("x", b"1")
    with store.bucket() as bucket:
        bucket.get("x")
        connection = bucket._connection
        assert connection is not None
        assert connection.sock is not None
        connection.sock.shutdown(2)
        assert bucket.get("x")[0] == b"1"


def test_a_conditional_write_is_not_sent_twice(store: SmallS3) -> None:
    with store.bucket() as bucket:
        bucket.put("y", b"0")
        assert bucket._connection is not None
        assert bucket._connection.sock is not None
        bucket._connection.sock.shutdown(2)
        with pytest.raises(StoreError, match="cannot be reached"):
            bucket.put("x", b"1", if_absent=True)


@given(st.binary(max_size=200))
def test_whatever_is_no_xml_is_an_error_and_nothing_else(body: bytes) -> None:
    with suppress(XmlError):
        Document(body, "Contents")
