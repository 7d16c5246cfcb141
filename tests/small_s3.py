"""A small S3 in this process: strict about signatures, and it lies, fails and tells another time when asked to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]  # ships no types
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from fleet.datastore_s3 import Bucket, Place
from fleet.datastore_signature import Keys

REGION = "lon1"
KEYS = Keys("DO00ACCESS", "hush")
BUCKET = "datastore-1a2b3c4"
Said = tuple[int, bytes]


@dataclass
class Stored:
    """One object."""

    body: bytes
    modified: float

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'


@dataclass
class SmallS3:
    """Objects by key; `now` is its clock; `fault` may answer a request (method, key) instead of it."""

    now: float = 1_800_000_000.0
    page: int = 1000
    strict_time: bool = False  # refuse what was signed more than 15 minutes ago, by its clock
    objects: dict[str, Stored] = field(default_factory=dict)
    fault: Callable[[str, str], Said | None] = lambda *_: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def place(self) -> Place:
        return Place(f"http://127.0.0.1:{self.port}", BUCKET, REGION)

    def bucket(self, keys: Keys = KEYS) -> Bucket:
        return Bucket(self.place, keys)

    def lay(self, key: str, body: bytes, *, age: float = 0.0) -> None:
        self.objects[key] = Stored(body, self.now - age)


@contextmanager
def small_s3() -> Iterator[SmallS3]:
    """Serving until the end of the block."""
    store = SmallS3()
    handler = type("Handler", (_Handler,), {"store": store})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        store.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield store
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    store: SmallS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Nothing is told."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        self.store.asked.append((self.command, key))
        fault = self.store.fault(self.command, key)
        if fault is not None:
            self._say(*fault)
        elif self.store.strict_time and abs(self._signed_at() - self.store.now) > 900:
            self._say(403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>")
        elif not self._signed(body):
            self._say(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        elif bucket != BUCKET:
            self._say(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        elif not key:
            self._list(
                {name: value[0] for name, value in parse_qs(parts.query, keep_blank_values=True).items()}
            )
        else:
            self._object(key, body)

    do_GET = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 - as the base class looks for them

    def _signed_at(self) -> float:
        return datetime.fromisoformat(self.headers["x-amz-date"]).timestamp()

    def _signed(self, body: bytes) -> bool:
        stamp = self.headers.get("x-amz-date", "")
        request = AWSRequest(method=self.command, url=f"http://{self.headers['Host']}{self.path}", data=body)
        request.context["timestamp"] = stamp
        request.headers["X-Amz-Date"] = stamp
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
        auth = S3SigV4Auth(Credentials(KEYS.access, KEYS.secret), "s3", REGION)
        wanted: str = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return self.headers.get("Authorization", "").endswith(f"Signature={wanted}")

    def _object(self, key: str, body: bytes) -> None:
        there = self.store.objects.get(key)
        if self.command == "PUT":
            wanted = self.headers.get("If-Match")
            if (self.headers.get("If-None-Match") == "*" and there) or (
                wanted is not None and (there is None or there.etag.strip('"') != wanted)
            ):
                self._say(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            self.store.lay(key, body)
            self._say(200, b"", etag=self.store.objects[key].etag)
        elif self.command == "DELETE":
            self.store.objects.pop(key, None)
            self._say(204, b"")
        elif there is None:
            self._say(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._say(200, there.body, etag=there.etag)

    def _list(self, query: dict[str, str]) -> None:
        if "versioning" in query:
            self._say(200, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")
            return
        keys = sorted(key for key in self.store.objects if key.startswith(query.get("prefix", "")))
        keys = [key for key in keys if key > query.get("continuation-token", "")]
        count = min(int(query["max-keys"]), self.store.page)
        more = len(keys) > count
        entries = "".join(_entry(key, self.store.objects[key]) for key in keys[:count])
        token = f"<NextContinuationToken>{escape(keys[count - 1])}</NextContinuationToken>" if more else ""
        self._say(200, f"<ListBucketResult>{entries}{token}</ListBucketResult>".encode())

    def _say(self, status: int, body: bytes, etag: str = "") -> None:
        self.send_response_only(status)
        self.send_header("Date", format_datetime(datetime.fromtimestamp(self.store.now, UTC), usegmt=True))
        if etag:
            self.send_header("ETag", etag)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(key: str, stored: Stored) -> str:
    moment = datetime.fromtimestamp(stored.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{escape(quote(key))}</Key><LastModified>{moment}</LastModified>"
        f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.body)}</Size>"
        "<Owner><ID>x</ID></Owner></Contents>"
    )
