"""Copies of the project: a commit of it, and the working tree as it is."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path


class CheckoutError(Exception):
    """The text names the ref or the path, and git's words."""


def commit(repository: Path, ref: str) -> str:
    """The full hash of a ref."""
    return (
        _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        .decode()
        .strip()
    )


def copy_commit(repository: Path, ref: str, target: Path) -> None:
    """The files of a commit. Nothing is registered in the repository, so nothing is left in it by a crash."""
    content = _git(repository, "archive", "--format=tar", commit(repository, ref))
    target.mkdir()
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(target, filter="data")
    except tarfile.TarError as error:
        raise CheckoutError(f"{ref} cannot be copied out of {repository}: {error}") from error


def copy_working_tree(repository: Path, target: Path) -> None:
    """The files that are tracked or could be, with what was changed in them and not committed."""
    listed = _git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    target.mkdir()
    for name in dict.fromkeys(listed.decode().split("\0")):
        source = repository / name
        if not name or not (source.is_file() or source.is_symlink()):
            continue  # deleted, and not yet committed so
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / name, follow_symlinks=False)


def _git(repository: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or "git does not know it"
        raise CheckoutError(f"git {' '.join(arguments)} in {repository} failed: {said}")
    return done.stdout
