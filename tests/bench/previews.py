"""`pulumi preview` of our program against a flat one with the same resources, in pairs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bed import ROOT, Bed
from tests.bench.table import Row

MEMBERS = (3, 30, 100)
PAIRS = 5
TARGET_RATIO = 1.15


def measure(bed: Bed) -> Iterator[Row]:
    ours = bed.project("ours", *_program(ROOT))
    flat = bed.project("flat", *_program(ROOT / "tests" / "bench" / "flat"))
    bed.run("fleet", "init", "dev", directory=ours)
    bed.run("pulumi", "stack", "init", "dev", directory=flat)
    for role in ("web", "database"):
        _set(bed, ours, f"flotilla:{role}.image", "debian-13-x64")
    for count in MEMBERS:
        _set(bed, ours, "flotilla:web.count", str(count))
        bed.run("pulumi", "config", "set", "-s", "dev", "count", str(count), directory=flat)
        pairs = [(_preview(bed, ours), _preview(bed, flat)) for _ in range(PAIRS + 1)][1:]
        ratio = statistics.median(a / b for a, b in pairs)
        own = statistics.median(a for a, _ in pairs)
        other = statistics.median(b for _, b in pairs)
        yield Row(
            f"preview, {count} web members, against a flat program",
            f"{own:.2f} s / {other:.2f} s = {ratio:.2f}",
            f"at most {TARGET_RATIO}",
            met=ratio <= TARGET_RATIO,
        )


def _program(directory: Path) -> list[Path]:
    wanted = ("__main__.py", "Pulumi.yaml", "Pulumi.dev.yaml", "app")
    return [directory / name for name in wanted if (directory / name).exists()]


def _set(bed: Bed, directory: Path, key: str, value: str) -> None:
    bed.run("pulumi", "config", "set", "-s", "dev", "--path", key, value, directory=directory)


def _preview(bed: Bed, directory: Path) -> float:
    return bed.run("pulumi", "preview", "-s", "dev", directory=directory)
