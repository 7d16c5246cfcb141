"""`make bench`: prints the table of docs/benchmarks.md. Takes about half an hour; needs root for the machines.

`python -m tests.bench previews` measures that part alone; the parts are previews, stack and rollouts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from tests.bench import previews, rollouts, stack
from tests.bench.bed import Bed, bed
from tests.bench.table import Row, markdown

_PARTS: dict[str, tuple[str, Callable[[Bed], Iterator[Row]]]] = {
    "previews": ("none", previews.measure),
    "stack": ("real", stack.measure),
    "rollouts": ("real", rollouts.measure),
}


def main() -> int:
    if os.geteuid() != 0:
        print("make bench boots machines, which needs root on Linux: sudo make bench", file=sys.stderr)
        return 1
    names = sys.argv[1:] or list(_PARTS)
    if unknown := sorted(set(names) - set(_PARTS)):
        print(f"there is no part {', '.join(unknown)}; there are: {', '.join(_PARTS)}", file=sys.stderr)
        return 2
    rows = []
    for machines, measure in (_PARTS[name] for name in names):
        with bed(machines) as prepared:
            for row in measure(prepared):
                print(f"{row.what}: {row.figure}", file=sys.stderr, flush=True)
                rows.append(row)
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
