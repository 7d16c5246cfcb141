"""A release: the site's files, any directory with a WSGI callable, taken from disk or from a git ref."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudinit.archive import File, digest

HOME: Final = "/opt/flotilla"
# A release travels over SSH in one piece; more than this is no code but data, which belongs into a volume or bucket.
MAX_BYTES: Final = 64 * 1024 * 1024
SKIPPED: Final = frozenset(
    {
        ".git",
        ".hg",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".tox",
    }
)
_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\(\))?")


class ReleaseError(ValueError):
    """The app's directory, ref or callable cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Release:
    """An app as it lies on a machine. Equal content, equal name."""

    name: str
    callable: str
    files: tuple[File, ...]


def from_directory(directory: Path, callable_: str) -> Release:
    """The directory as it is on disk, caches and version control left out."""
    if not directory.is_dir():
        raise ReleaseError(f"the app's directory {directory} does not exist")
    return _release(str(directory), callable_, _disk_files(directory))


def from_git(directory: Path, ref: str, callable_: str) -> Release:
    """The directory as committed at a git ref of the repository it lies in; the working tree does not matter."""
    commit = _git(directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if commit is None:
        raise ReleaseError(
            f"{ref!r} is no commit, tag or branch of the git repository at {directory}; fetch it first"
        )
    prefix = (_git(directory, "rev-parse", "--show-prefix") or b"").decode().strip()
    tree = f"{commit.decode().strip()}:{prefix}"
    packed = _git(directory, "archive", "--format=tar", tree, top=True)
    if packed is None:
        raise ReleaseError(f"{directory} does not exist at {ref!r} in its git repository")
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        files = [
            (entry.name, content.read(), bool(entry.mode & 0o100))
            for entry in tar
            if (content := tar.extractfile(entry)) is not None
        ]
    return _release(f"{directory} at {ref}", callable_, iter(files))


def _release(where: str, callable_: str, files: Iterator[tuple[str, bytes, bool]]) -> Release:
    if not _CALLABLE.fullmatch(callable_):
        raise ReleaseError(
            f"{callable_!r} is no WSGI callable; write module:callable, such as visits.wsgi:app or visits:create_app()"
        )
    laid = tuple(
        sorted(File(f"{HOME}/app/{name}", content, 0o755 if runs else 0o644) for name, content, runs in files)
    )
    module = callable_.split(":")[0].replace(".", "/")
    paths = {file.path for file in laid}
    if not {f"{HOME}/app/{module}.py", f"{HOME}/app/{module}/__init__.py"} & paths:
        raise ReleaseError(
            f"the callable {callable_!r} names {module}.py or {module}/, which {where} does not have"
        )
    size = sum(len(file.content) for file in laid)
    if size > MAX_BYTES:
        raise ReleaseError(
            f"{where} has {size} bytes and a release takes {MAX_BYTES}; keep data out of the app's directory"
        )
    name = digest((*laid, File("callable", callable_.encode())))[:12]
    environment = f"FLOTILLA_RELEASE={name}\nFLOTILLA_CALLABLE={callable_}\n"
    return Release(name, callable_, (*laid, File(f"{HOME}/release.env", environment.encode())))


def _disk_files(directory: Path) -> Iterator[tuple[str, bytes, bool]]:
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if SKIPPED & set(relative.parts) or relative.suffix == ".pyc":
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(directory.resolve()):
            raise ReleaseError(f"{path} is a symbolic link out of the app's directory; copy the file in")
        if path.is_file():
            yield relative.as_posix(), path.read_bytes(), bool(path.stat().st_mode & 0o100)


def _git(directory: Path, *arguments: str, top: bool = False) -> bytes | None:
    """Output of a git command in the directory, or at the top of its repository; None when git refuses."""
    where = directory
    if top:
        found = _git(directory, "rev-parse", "--show-toplevel")
        if found is None:
            return None
        where = Path(found.decode().strip())
    try:
        done = subprocess.run(["git", "-C", str(where), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise ReleaseError("git is not installed, and the app is given by a git ref") from None
    return done.stdout if done.returncode == 0 else None
