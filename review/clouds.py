"""Previews against the real stacks: the backend and the accounts of this shell. Nothing is changed in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from review import stacks
from review.engine import Engine
from review.report import Report


def preview(project: Path, wanted: Sequence[str], say: Callable[[str], None]) -> Report:
    """One report about these stacks, or all that have a config file."""
    found = []
    with tempfile.TemporaryDirectory(prefix="flotilla-preview-") as scratch:
        engine = Engine(project, {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}, Path(scratch))
        for stack in wanted or stacks.names(project):
            say(f"Previewing {stack} ...")
            found.append(engine.preview(stack))
    return Report(tuple(found), base="the deployed stacks")
