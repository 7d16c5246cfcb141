"""A place on the network to look from: the host, a droplet, the edge or the internet, for tests with real packets."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from sandbox.network.namespaces import in_namespace, namespace_path

_Result = TypeVar("_Result")


class Answer(StrEnum):
    """What a connection attempt meets."""

    OPEN = "open"
    REFUSED = "refused"  # the host is there, the port is not
    SILENT = "silent"  # dropped: no answer within the time
    UNREACHABLE = "unreachable"  # no route


@dataclass(frozen=True, slots=True)
class Vantage:
    """A network namespace by name, or the host itself."""

    namespace: str | None = None

    def inside(self, action: Callable[[], _Result]) -> _Result:
        """Run `action` as if the process were there."""
        return action() if self.namespace is None else in_namespace(self.namespace, action)

    def connect(
        self, address: str, port: int, *, source: str | None = None, seconds: float = 10.0
    ) -> socket.socket:
        """A TCP connection from here, optionally from one of several source addresses."""
        origin = None if source is None else (source, 0)
        return self.inside(lambda: socket.create_connection((address, port), seconds, source_address=origin))

    def probe(self, address: str, port: int, *, source: str | None = None, seconds: float = 1.0) -> Answer:
        """What a TCP connection from here to there meets."""
        try:
            self.connect(address, port, source=source, seconds=seconds).close()
        except TimeoutError:
            return Answer.SILENT
        except ConnectionRefusedError:
            return Answer.REFUSED
        except OSError:
            return Answer.UNREACHABLE
        return Answer.OPEN

    def run(self, command: Sequence[str], *, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
        """A command there; its output as text, its exit code unchecked."""
        enter = [] if self.namespace is None else ["nsenter", f"--net={namespace_path(self.namespace)}"]
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=seconds, check=False
        )
