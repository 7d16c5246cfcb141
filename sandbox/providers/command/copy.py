"""Files sent to other machines by SFTP: `remote.CopyToRemote`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sandbox.providers.call import Call, Created, OperationError
from sandbox.providers.command.connection import CONNECTION, dial
from sandbox.providers.command.previous import new_id
from sandbox.providers.schema import (
    ANYTHING,
    ASSET,
    Operations,
    Resource,
    by_name,
    given,
    list_of,
    required,
)
from sandbox.providers.values import Asset, Values

if TYPE_CHECKING:
    import asyncssh


async def copy(call: Call) -> None:
    """Put the source where `remotePath` says.

    A file goes into an existing directory or becomes the path itself; so does a directory, but the contents alone
    when its own path ends with a slash.
    Raises: OperationError naming the path that could not be written.
    """
    import asyncssh

    source: Asset = call.inputs["source"]
    target = call.inputs["remotePath"]
    async with dial(call) as connection:
        try:
            async with connection.start_sftp_client() as sftp:
                if source.text is not None:
                    await _write_text(sftp, source.text, target)
                else:
                    base = (await call.session.process()).directory
                    await _copy_path(sftp, base, str(source.path), target)
        except asyncssh.ChannelOpenError as error:
            raise OperationError(f"ssh: subsystem request failed: {error.reason}") from error
        except (asyncssh.Error, OSError) as error:
            raise OperationError(f"failed to copy to remote path {target}: {error}") from error


async def _write_text(sftp: asyncssh.SFTPClient, text: str, target: str) -> None:
    if await sftp.isdir(target):
        raise OperationError(
            f"remote path {target} is a directory; when using a text asset, remotePath must be a file path"
        )
    await sftp.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
    async with sftp.open(target, "wb") as file:
        await file.write(text.encode())


async def _copy_path(sftp: asyncssh.SFTPClient, base: Path, source: str, target: str) -> None:
    path = base / source
    if not path.exists():
        raise OperationError(f"open {path}: no such file or directory")
    destination = PurePosixPath(target)
    if not path.is_dir():
        if await sftp.isdir(target):
            destination /= path.name
        await sftp.makedirs(str(destination.parent), exist_ok=True)
        await sftp.put(str(path), str(destination))
        return
    if not source.endswith("/"):
        destination /= path.name
    await _copy_tree(sftp, path, destination)


async def _copy_tree(sftp: asyncssh.SFTPClient, source: Path, target: PurePosixPath) -> None:
    if await sftp.exists(str(target)) and not await sftp.isdir(str(target)):
        raise OperationError(f"remote path {target} exists but is not a directory")
    await sftp.makedirs(str(target), exist_ok=True)
    for path in await asyncio.to_thread(_entries, source):
        if path.is_dir():
            await _copy_tree(sftp, path, target / path.name)
        else:
            await sftp.put(str(path), str(target / path.name))


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def _rules(inputs: Values) -> Iterable[str]:
    source = inputs.get("source")
    if not isinstance(source, Asset):
        return
    if source.archive and source.path is None:
        yield "archive must be a path to a file or directory"
    if not source.archive and source.path is None and source.text is None:
        yield "asset must be a path-based file asset or a text asset"


class _Copies(Operations):
    async def create(self, call: Call) -> Created:
        await copy(call)
        return Created(new_id(""), {})

    async def read(self, call: Call) -> Values | None:
        return {}

    async def update(self, call: Call) -> Values:
        """Only other contents or another path are copied again; a new connection alone is not."""
        if "remotePath" in call.changed or "source" in call.changed:
            await copy(call)
        return {}

    async def delete(self, call: Call) -> None:
        """What was copied stays there."""


COPY_TO_REMOTE = Resource(
    token="command:remote:CopyToRemote",  # noqa: S106 - a type token
    compares_inputs=True,
    tracks_defaults=False,
    operations=_Copies(),
    rules=[_rules],
    properties=by_name(
        [
            CONNECTION,
            required("source", ASSET),
            required("remotePath"),
            given("triggers", list_of(ANYTHING), replaces=True),
        ]
    ),
)
