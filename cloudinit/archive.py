"""Files for a machine as one tar archive, byte for byte the same for the same files."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class File:
    """A file on a machine, owned by root."""

    path: str  # absolute
    content: bytes
    mode: int = 0o644


def digest(files: Iterable[File]) -> str:
    """SHA-256 over paths, modes and contents, in hexadecimal; independent of any compressor's version."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.path}\0{file.mode:o}\0{len(file.content)}\0".encode())
        total.update(file.content)
    return total.hexdigest()


def pack(files: Iterable[File]) -> bytes:
    """A tar.xz that lays the files when extracted at the root; no times, no owners but root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(files):
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode, entry.mtime = len(file.content), file.mode, 0
            entry.uname = entry.gname = "root"
            tar.addfile(entry, io.BytesIO(file.content))
    return lzma.compress(buffer.getvalue(), preset=6)


def unpack(archive: bytes) -> list[File]:
    """The files of an archive made by `pack`."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:xz") as tar:
        return [
            File(f"/{entry.name}", content.read(), entry.mode)
            for entry in tar
            if (content := tar.extractfile(entry)) is not None
        ]
