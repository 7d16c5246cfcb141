"""How busy this machine's processors are, from the accounts of its control group.

The root group of a machine counts all its processes. /proc/stat would count the host's other machines too where this
one is a container, and the fence's unit does not see it.
https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from fleet.machine.host import Host

ACCOUNT: Final = "/sys/fs/cgroup/cpu.stat"
WINDOW_SECONDS: Final = 3.0
# Over less time a share says more of the moment than of the load.
LEAST_SECONDS: Final = 0.5


class Processor:
    """Readings of the last seconds. `cpus` is how many processors the machine may use."""

    def __init__(self, host: Host, cpus: int | None = None) -> None:
        self._host = host
        self._cpus = cpus or len(os.sched_getaffinity(0))
        self._readings: deque[tuple[float, float]] = deque()

    def look(self, now: float) -> None:
        """Take a reading at `now`, in monotonic seconds; one that fails makes those before it worthless."""
        used = self._used_seconds()
        if used is None or (self._readings and used < self._readings[-1][1]):
            self._readings.clear()
        if used is not None:
            self._readings.append((now, used))
        while len(self._readings) > 2 and self._readings[1][0] <= now - WINDOW_SECONDS:
            self._readings.popleft()

    def share(self) -> float | None:
        """Share of all processors' time that was used in the last WINDOW_SECONDS, 0 to 1; None when that is not known."""
        if not self._readings:
            return None
        (began, before), (ended, after) = self._readings[0], self._readings[-1]
        if ended - began < LEAST_SECONDS:
            return None
        return min(1.0, (after - before) / (ended - began) / self._cpus)

    def _used_seconds(self) -> float | None:
        try:
            text = self._host.read(ACCOUNT) or ""
        except OSError:
            return None
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == "usage_usec" and value.isdigit():
                return int(value) / 1e6
        return None
