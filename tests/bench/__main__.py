"""`make bench`: prints the table of docs/benchmarks.md. Takes about twenty minutes; needs root for the machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from tests.bench import previews, rollouts, stack
from tests.bench.bed import Bed, bed
from tests.bench.table import Row, markdown

_PARTS: tuple[tuple[str, Callable[[Bed], Iterator[Row]]], ...] = (
    ("none", previews.measure),
    ("real", stack.measure),
    ("real", rollouts.measure),
)


def main() -> int:
    if os.geteuid() != 0:
        print("make bench boots machines, which needs root on Linux: sudo make bench", file=sys.stderr)
        return 1
    rows = []
    for machines, measure in _PARTS:
        with bed(machines) as prepared:
            for row in measure(prepared):
                print(f"{row.what}: {row.figure}", file=sys.stderr, flush=True)
                rows.append(row)
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
