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
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

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

from sandbox.s3 import ACCESS_KEY_VARIABLE

_PARTITION = "aws"
_CHANGING = frozenset({"PUT", "POST", "DELETE"})
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/")

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

    def known(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are buckets, in memory or on disk."""
        return [name for name in names if name and (name in self._buckets or self._file(name).exists())]

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.bucket"


class Storage:
    """A WSGI application in front of moto: one request at a time, only with our key, nothing answered before kept."""

    def __init__(self, inner: _Application, files: BucketFiles, access_key: str) -> None:
        self._inner = inner
        self._files = files
        self._access_key = access_key
        self._lock = threading.Lock()

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal is not None:
            return _error(start_response, "403 Forbidden", *refusal)
        # The body is read before the lock is taken: a slow client must not stop the others.
        body = get_input_stream(environ).read()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        with self._lock:
            status, headers, content = self._run(environ)
            if environ["REQUEST_METHOD"] in _CHANGING and int(status.split()[0]) < 400:
                touched = self._files.known({_bucket_of_path(environ), _bucket_of_host(environ)})
                try:
                    for name in touched:
                        self._files.keep(name)
                except OSError as error:
                    for name in touched:
                        self._files.restore(name)
                    logging.exception("a change was taken back because it could not be kept")
                    return _error(start_response, "500 Internal Server Error", "InternalError", str(error))
        start_response(status, headers)
        return [content]

    def _run(self, environ: _Environ) -> tuple[str, _Headers, bytes]:
        answer: list[tuple[str, _Headers]] = []

        def start(status: str, headers: _Headers, exc_info: object = None) -> None:
            answer.append((status, headers))

        content = b"".join(self._inner(environ, start))
        status, headers = answer[-1]
        return status, headers, content

    def _refusal(self, environ: _Environ) -> tuple[str, str] | None:
        if "HTTP_AUTHORIZATION" in environ:
            found = _CREDENTIAL.search(environ["HTTP_AUTHORIZATION"])
            key = found[1] if found else None
        else:
            # A presigned URL, of signature version 4 or 2.
            query = parse_qs(environ.get("QUERY_STRING", ""))
            presigned = query.get("X-Amz-Credential") or query.get("AWSAccessKeyId") or [""]
            key = presigned[0].split("/")[0] or None
        if key is None:
            return "AccessDenied", "Access Denied"
        if key != self._access_key:
            return "InvalidAccessKeyId", "The access key Id you provided does not exist in our records."
        return None


def _bucket_of_path(environ: _Environ) -> str:
    path: str = environ.get("PATH_INFO", "")
    return path.lstrip("/").partition("/")[0]


def _bucket_of_host(environ: _Environ) -> str:
    host: str = environ.get("HTTP_HOST", "")
    return host.partition(":")[0].partition(".")[0]


def _error(start_response: _StartResponse, status: str, code: str, message: str) -> list[bytes]:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    ).encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where the buckets are kept")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True, help="told `ready` once requests are answered")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    files = BucketFiles(arguments.directory)
    files.load()
    application = Storage(
        DomainDispatcherApplication(create_backend_app), files, os.environ[ACCESS_KEY_VARIABLE]
    )
    server = make_server(
        "127.0.0.1", arguments.port, application, threaded=True, request_handler=MotoRequestHandler
    )
    os.write(arguments.ready_fd, b"ready")
    os.close(arguments.ready_fd)
    server.serve_forever()


if __name__ == "__main__":
    main()
