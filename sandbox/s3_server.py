"""The process behind `sandbox.s3`: moto's S3 with its buckets kept on disk.

moto can record requests and replay them after a restart, but a replayed upload gets new version and upload ids
and a new time, so a client that remembers one finds nothing. Here each bucket that a request has changed is
written to disk before the request is answered, and read back as it was.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode
from xml.sax.saxutils import escape

import moto
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import FakeBucket, s3_backends
from moto.s3.utils import _VersionedKeyStore
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

from sandbox.s3_keys import AccessKey, KeyRing
from sandbox.s3_request import RefusedError, S3Request, authorize
from sandbox.s3_signature import SIGNING_PARAMETERS, authenticate
from sandbox.sigv4 import ALGORITHM

_PARTITION = "aws"
_MOTO_REGION = "us-east-1"
# The one that clients of DigitalOcean take when none is told.
_DEFAULT_REGION = "nyc3"
_CHANGING = frozenset({"PUT", "POST", "DELETE"})
_CONSTRAINT = re.compile(rb"<LocationConstraint>([a-z0-9-]+)</LocationConstraint>")
_CREATION = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"
)

_Environ = dict[str, Any]
_Headers = list[tuple[str, str]]
_StartResponse = Callable[..., Any]
_Application = Callable[[_Environ, _StartResponse], Iterable[bytes]]


class _Pickler(pickle.Pickler):
    """Keeps all versions of an object: pickle's own way with dictionaries would take the newest of moto's lists."""

    def reducer_override(self, value: object) -> Any:
        if type(value) is _VersionedKeyStore:
            return _key_store, ([(key, value.getlist(key)) for key in dict.keys(value)],)
        return NotImplemented


def _key_store(versions: list[tuple[str, list[Any]]]) -> _VersionedKeyStore:
    store = _VersionedKeyStore()
    for key, objects in versions:
        store.setlist(key, objects)
    return store


class BucketFiles:
    """moto's buckets as files of a directory, one each, replaced whole."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def _buckets(self) -> dict[str, FakeBucket]:
        buckets: dict[str, FakeBucket] = s3_backends[DEFAULT_ACCOUNT_ID][_PARTITION].buckets
        return buckets

    def load(self) -> None:
        """Give moto every bucket on disk."""
        for file in sorted(self._directory.glob("*.bucket")):
            self.restore(file.stem)

    def restore(self, name: str) -> None:
        """Make one bucket in memory what it is on disk, also when it is not there."""
        file = self._file(name)
        if not file.exists():
            self._buckets.pop(name, None)
            s3_backends.bucket_accounts.pop(name, None)
            return
        try:
            # Written by this program into a directory closed to others.
            version, bucket = pickle.loads(file.read_bytes())  # noqa: S301
        except (pickle.UnpicklingError, AttributeError, ImportError, EOFError, ValueError) as error:
            raise SystemExit(
                f"{file} cannot be read with moto {moto.__version__} ({error}): use the version it was written "
                "with, or remove the file and with it the bucket"
            ) from error
        logging.debug("bucket %s was written by moto %s", name, version)
        self._buckets[name] = bucket
        s3_backends.bucket_accounts[name] = (_PARTITION, DEFAULT_ACCOUNT_ID)

    def keep(self, name: str) -> None:
        """Make one bucket on disk what it is in memory; durable when it returns."""
        file = self._file(name)
        bucket = self._buckets.get(name)
        if bucket is None:
            file.unlink(missing_ok=True)
        else:
            temporary = file.with_suffix(".new")
            with temporary.open("wb") as stream:
                _Pickler(stream, protocol=5).dump((moto.__version__, bucket))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
        descriptor = os.open(self._directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def known(self, name: str) -> bool:
        """Whether it is a bucket, in memory or on disk."""
        return name in self._buckets or self._file(name).exists()

    def region(self, name: str) -> str | None:
        """Where a bucket is; None when there is none."""
        bucket = self._buckets.get(name)
        return None if bucket is None else str(bucket.region_name)

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.bucket"


class Storage:
    """A WSGI application in front of moto: one request at a time, only what its key may, nothing answered before
    kept."""

    def __init__(self, inner: _Application, files: BucketFiles, keys: KeyRing) -> None:
        self._inner = inner
        self._files = files
        self._keys = keys
        self._lock = threading.Lock()

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        # The body is read before the lock is taken: a slow client must not stop the others.
        request = S3Request.of(environ, get_input_stream(environ).read())
        try:
            key = authenticate(request, self._keys, datetime.now(UTC))
            authorize(key, request)
            _check_condition(request)
            with self._lock:
                self._check_region(request)
                status, headers, content = self._run(for_moto(environ, request, key))
                self._keep(request, status)
        except RefusedError as error:
            return _error(start_response, request, error)
        start_response(status, headers)
        return [content]

    def _check_region(self, request: S3Request) -> None:
        """A bucket is known in its own region only."""
        place = request.place
        region = self._files.region(place.bucket)
        if place.region is not None and region is not None and place.region != region:
            raise RefusedError("404 Not Found", "NoSuchBucket", "The specified bucket does not exist")

    def _run(self, environ: _Environ) -> tuple[str, _Headers, bytes]:
        answer: list[tuple[str, _Headers]] = []

        def start(status: str, headers: _Headers, exc_info: object = None) -> None:
            answer.append((status, headers))

        content = b"".join(self._inner(environ, start))
        status, headers = answer[-1]
        return status, headers, content

    def _keep(self, request: S3Request, status: str) -> None:
        bucket = request.place.bucket
        if request.method not in _CHANGING or int(status.split()[0]) >= 400 or not self._files.known(bucket):
            return
        try:
            self._files.keep(bucket)
        except OSError as error:
            self._files.restore(bucket)
            logging.exception("a change was taken back because it could not be kept")
            raise RefusedError("500 Internal Server Error", "InternalError", str(error)) from error


def _check_condition(request: S3Request) -> None:
    """DigitalOcean takes the ETag of a conditional write without its quotes only, other than Amazon's S3.

    https://github.com/slatedb/slatedb/issues/1818
    """
    if request.method == "PUT" and request.headers.get("if-match", "").startswith('"'):
        message = "At least one of the pre-conditions you specified did not hold"
        raise RefusedError("412 Precondition Failed", "PreconditionFailed", message)


def for_moto(environ: _Environ, request: S3Request, key: AccessKey) -> _Environ:
    """The request as moto understands it: the bucket in the path, one region, signed by a header."""
    place, body = request.place, request.body
    if request.method == "PUT" and place.bucket and not place.key and request.operation is None:
        body = _CREATION.format(place.region or _asked_region(body) or _DEFAULT_REGION).encode()
    query = urlencode([pair for pair in request.parameters if pair[0] not in SIGNING_PARAMETERS])
    # moto knows the account by any key at all.
    credential = f"Credential={key.id}/20000101/{_MOTO_REGION}/s3/aws4_request"
    return {
        **environ,
        "HTTP_HOST": "localhost",
        "HTTP_AUTHORIZATION": f"{ALGORITHM} {credential}, SignedHeaders=host, Signature=0",
        "PATH_INFO": unquote(place.path, "latin-1"),
        "RAW_URI": f"{place.path}?{query}",
        "REQUEST_URI": f"{place.path}?{query}",
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }


def _asked_region(body: bytes) -> str | None:
    found = _CONSTRAINT.search(body)
    return found[1].decode() if found else None


def _error(start_response: _StartResponse, request: S3Request, error: RefusedError) -> list[bytes]:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
        f"<Resource>{escape(request.path)}</Resource></Error>"
    ).encode()
    start_response(error.status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [] if request.method == "HEAD" else [body]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where the buckets are kept")
    parser.add_argument("--keys", type=Path, required=True, help="the file of the access keys")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True, help="told `ready` once requests are answered")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    files = BucketFiles(arguments.directory)
    files.load()
    application = Storage(DomainDispatcherApplication(create_backend_app), files, KeyRing(arguments.keys))
    server = make_server(
        "127.0.0.1", arguments.port, application, threaded=True, request_handler=MotoRequestHandler
    )
    os.write(arguments.ready_fd, b"ready")
    os.close(arguments.ready_fd)
    server.serve_forever()


if __name__ == "__main__":
    main()
