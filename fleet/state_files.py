"""What a killed run may leave beside the state in a `file://` backend, and what then stands in the way of every command.

The engine replaces the state by a rename, so that it is always whole. But the blob store under it keeps attributes in
a file of its own, which it simply overwrites: cut off there, each command ends with `failed to load checkpoint: EOF`.
Attributes may be absent. https://github.com/google/go-cloud/blob/master/blob/fileblob/attrs.go
"""

from __future__ import annotations

import json
from pathlib import Path

from fleet.locks import file_root


def mend(backend_url: str, project: str, stack: str, directory: Path) -> list[str]:
    """Remove cut-off attributes and half-written copies of a stack's state; the paths of the former.

    No run may be at work on the stack. Other backends have no such files. `directory`: see `file_root`.
    """
    root = file_root(backend_url, directory)
    if root is None:
        return []
    states = root / ".pulumi" / "stacks" / project
    for copy in states.glob(f"{stack}.json.*.tmp"):
        copy.unlink()
    torn = [path for path in sorted(states.glob(f"{stack}.json*.attrs")) if not _whole(path)]
    for path in torn:
        path.unlink()
    return [str(path) for path in torn]


def _whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
