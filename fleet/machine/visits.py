"""Visits as nginx logs them: counted once each, across rotations of the log."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

from fleet.machine.fence import Count

# Upper bounds of the latency's buckets in seconds; one more bucket has everything slower.
BOUNDS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
    0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0,
)  # fmt: skip
# Of the 5xx those that the app or its absence causes. nginx answers 501 and 505 to whoever sends nonsense, and a
# stranger must not be able to close a member.
FAILURES: Final = frozenset({500, 502, 503, 504})
RECENT_SECONDS: Final = 2.0
_CHUNK: Final = 64 * 1024
_MOST_PER_POLL: Final = 64 * _CHUNK  # what a busy member writes in many seconds
# nginx writes to a rotated log until it is told of the new one, which logrotate does at once.
_ROTATION_SECONDS: Final = 5.0


class Visit(NamedTuple):
    """A line of the log."""

    status: int  # the own app's, also when a peer made good for it
    seconds: float
    ended: float  # wall clock


class _Ended(NamedTuple):
    at: float  # monotonic
    seconds: float
    failed: bool


class Tally:
    """Visits since the start, by latency, and those of the last seconds."""

    def __init__(self) -> None:
        self.total = Count()
        self.latency = [0] * (len(BOUNDS) + 1)
        self._recent: deque[_Ended] = deque()
        self._recent_errors = 0

    def add(self, at: float, status: int, seconds: float) -> None:
        """A visit that ended `at`, in monotonic seconds."""
        failed = status in FAILURES
        self.total = Count(self.total.requests + 1, self.total.errors + failed)
        self.latency[bisect_left(BOUNDS, seconds)] += 1
        self._recent.append(_Ended(at, seconds, failed))
        self._recent_errors += failed

    def recent(self, now: float) -> Count:
        """Visits that ended in the last RECENT_SECONDS."""
        while self._recent and self._recent[0].at <= now - RECENT_SECONDS:
            self._recent_errors -= self._recent.popleft().failed
        return Count(len(self._recent), self._recent_errors)

    def answered(self, since: float) -> tuple[int, int]:
        """Visits answered without 5xx in the last RECENT_SECONDS: those that ended after `since`, and those among them
        that began after it."""
        ended = [visit for visit in self._recent if visit.at > since and not visit.failed]
        return len(ended), sum(visit.at - visit.seconds > since for visit in ended)


class AccessLog:
    """New lines of a log that is written by another process and rotated by a third. Starts at the log's end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._rest = b""
        self._rotated_at: float | None = None
        self._open(at_end=True)

    def lines(self, now: float) -> list[bytes]:
        """Whole lines that came since the last call."""
        if self._file is None:
            self._open()
        lines = self._read()
        if self._rotated(now):
            lines += self._read()
            self.close()
            self._open()
            lines += self._read()
        return lines

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._rest, self._rotated_at = None, b"", None

    def _open(self, *, at_end: bool = False) -> None:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        if at_end:
            os.lseek(self._file, 0, os.SEEK_END)

    def _read(self) -> list[bytes]:
        if self._file is None:
            return []
        if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            os.lseek(self._file, 0, os.SEEK_SET)  # it was cut instead of renamed
        lines: list[bytes] = []
        read = 0
        while read < _MOST_PER_POLL and (chunk := os.read(self._file, _CHUNK)):
            read += len(chunk)
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            lines += whole
            self._rest = self._rest[-_CHUNK:]
        return lines

    def _rotated(self, now: float) -> bool:
        """Another file has the log's name, and the old one will not grow any more."""
        if self._file is None:
            return False
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        if there.st_ino == os.fstat(self._file).st_ino:
            self._rotated_at = None
            return False
        if self._rotated_at is None:
            self._rotated_at = now
        return there.st_size > 0 or now - self._rotated_at >= _ROTATION_SECONDS


def parse(line: bytes) -> Visit | None:
    """A line in the format `visit` of nginx.conf, where a quote within a field is escaped."""
    fields = line.split(b'"')
    try:
        (_, _, seconds), (ended, own_status) = fields[2].split(), fields[4].split()
        return Visit(int(own_status), float(seconds), float(ended))
    except (IndexError, ValueError):
        return None
