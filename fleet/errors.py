"""What the operator's commands say when they cannot do what was asked."""

from __future__ import annotations


class FleetError(Exception):
    """A failure told to the operator as one text: the thing, its value and the way on."""

    exit_code = 1


class LockedError(FleetError):
    """Another run is at work on the stack; a script may wait and try again."""

    exit_code = 3


class StoppedError(FleetError):
    """The operator stopped what was under way; it ended in order."""

    exit_code = 130  # 128 + SIGINT, as a shell reports it
