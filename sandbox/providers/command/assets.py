"""Files that a local command left behind, as assets: found by globs relative to its directory."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sandbox.providers.values import Asset

_MEANINGS = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}


def find_assets(directory: Path, globs: Sequence[str]) -> dict[str, Asset]:
    """Files that the rules select, by their path within the directory; a rule that begins with ! takes out again."""
    rules = [(rule.startswith("!"), re.compile(_expression(rule.removeprefix("!")))) for rule in globs]
    found: dict[str, Asset] = {}
    for path in _files(directory):
        for excludes, pattern in rules:
            if not pattern.fullmatch(path):
                continue
            if excludes:
                found.pop(path, None)
            else:
                found[path] = _asset(directory / path)
    return found


def archive_of(assets: dict[str, Asset]) -> Asset:
    return Asset(archive=True, assets=assets)


def _files(directory: Path) -> Iterator[str]:
    for parent, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            yield (Path(parent) / name).relative_to(directory).as_posix()


def _asset(path: Path) -> Asset:
    with path.open("rb") as file:
        return Asset(path=str(path), hash=hashlib.file_digest(file, "sha256").hexdigest())


def _expression(glob: str) -> str:
    """A glob as a regular expression: `*` within a directory, `**` across them, `?`, `[a-z]`, `{a,b}`."""
    return "".join(_translate(re.findall(r"\*\*|\[[^\]]*\]|\\.|.", glob)))


def _translate(parts: Iterable[str]) -> Iterator[str]:
    depth = 0
    for part in parts:
        depth += (part == "{") - (part == "}")
        if part.startswith("[") and len(part) > 1:
            yield part.replace("[!", "[^")
        elif part in _MEANINGS and (part != "," or depth):
            yield _MEANINGS[part]
        else:
            yield re.escape(part[-1])
