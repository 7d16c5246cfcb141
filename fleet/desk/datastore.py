"""Commands for a stack's config datastore."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fleet import commands, members, stack_datastore
from fleet import status as standing
from fleet.config import ConfigError
from fleet.datastore_s3 import LARGEST_OBJECT, Bucket, StoreError
from fleet.datastore_verbs import health, refuse, rows
from fleet.desk.common import Json, Stack, emit, pulumi_cli, say
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.identity import Identity

store = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Key = Annotated[str, typer.Argument(metavar="KEY", help="An object, such as ips/web/web-1-3fa2c1b.")]
On = Annotated[
    str, typer.Option("--on", metavar="SLOT", help="The member that does it; absent: the first that can.")
]


@store.callback()
def datastore() -> None:
    """Look into a stack's config datastore, and change it.

    Machines say under ips/ROLE/NAME where they are, every minute; one that is silent for five is stale. The bucket is
    the one that the stack's state names; the key to it comes by SPACES_ACCESS_KEY_ID and SPACES_SECRET_ACCESS_KEY.
    """


@store.command()
def check(
    stack: Stack,
    key: Annotated[str, typer.Argument(help="Only tell by the exit code whether this object is there.")] = "",
    as_json: Json = False,
) -> None:
    """Tell whether the datastore is as the machines need it. Exit code 1: it is not, or KEY is absent."""
    with _opened(stack) as bucket:
        if key:
            if not bucket.exists(key):
                raise FleetError(f"there is no {key} in the datastore of stack {stack}")
            return
        found = health(bucket)
    if as_json:
        emit(asdict(found))
    else:
        print("\n".join(found.lines()))
    if not found.well:
        raise FleetError(f"the datastore of stack {stack} is not as it should be")


@store.command("list")
def show(
    stack: Stack,
    prefix: Annotated[str, typer.Argument(help="How the keys begin; absent: all.")] = "",
    as_json: Json = False,
) -> None:
    """Show the objects: key, size, age by the store's clock, and of machines whether they still speak."""
    with _opened(stack) as bucket:
        found = rows(bucket, prefix)
    if as_json:
        emit([asdict(row) for row in found])
    else:
        print("\n".join(str(row) for row in found))


@store.command()
def get(key: Key, stack: Stack) -> None:
    """Write an object's content to standard output."""
    with _opened(stack) as bucket:
        sys.stdout.buffer.write(bucket.get(key)[0])
        sys.stdout.flush()


@store.command()
def put(
    key: Key,
    stack: Stack,
    file: Annotated[Path | None, typer.Option(help="The content; absent: standard input.")] = None,
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Fail when it is there.")] = False,
    if_match: Annotated[str, typer.Option(help="Fail when its ETag is another by now.")] = "",
) -> None:
    """Write an object; prints its ETag. What machines would not believe is refused, and secrets in plain are too."""
    if if_absent and if_match:
        raise typer.BadParameter("give --if-absent or --if-match, not both")
    body = file.read_bytes() if file else sys.stdin.buffer.read(LARGEST_OBJECT + 1)
    if len(body) > LARGEST_OBJECT:
        raise FleetError(f"the content for {key} is larger than {LARGEST_OBJECT} bytes")
    with _opened(stack) as bucket:
        refuse(key, body)
        print(bucket.put(key, body, if_absent=if_absent, if_match=if_match))


@store.command()
def delete(key: Key, stack: Stack) -> None:
    """Remove an object. The bucket keeps its versions. A machine that lives writes its own again within a minute."""
    with _opened(stack) as bucket:
        if not bucket.exists(key):
            raise FleetError(f"there is no {key} in the datastore of stack {stack}")
        bucket.delete(key)


@store.command()
def get_db_credential(
    stack: Stack,
    field: Annotated[
        str, typer.Option(help="Only this: engine, host, port, name, user or password; absent: all, as JSON.")
    ] = "",
    on: On = "",
) -> None:
    """Print what opens the database. A member of the web tier opens it; the desk never has the key to it."""
    print(_on_member(stack, on, commands.db_credential(field)))


@store.command()
def put_db_credential(stack: Stack, on: On = "") -> None:
    """Have a member seal its own database credential and lay it in the datastore; the desk never sees it."""
    say(_on_member(stack, on, commands.SEAL_CREDENTIAL))


@contextmanager
def _opened(stack: str) -> Iterator[Bucket]:
    """The stack's bucket; its errors as the desk tells them."""
    try:
        with stack_datastore.bucket(pulumi_cli().export(stack), stack, os.environ) as bucket:
            yield bucket
    except (ConfigError, StoreError) as error:
        raise FleetError(str(error)) from error


def _on_member(stack: str, slot: str, line: str) -> str:
    """What a web member says to a command: the one of a slot, or the first of all that can."""
    cli = pulumi_cli()
    machines = members.find(DigitalOcean.from_environment(), stack)
    chosen = members.in_slot(machines, slot, stack) if slot else machines
    if not chosen:
        raise FleetError(f"stack {stack} has no web members; `pulumi up -s {stack}` makes them")
    identity = Identity.from_seed(cli.secret(stack, f"{cli.project.name}:seed"))
    failures = []
    for machine in chosen:
        try:
            return asyncio.run(standing.command([machine], identity, line))[machine]
        except FleetError as error:
            failures.append(str(error))
    raise FleetError("\n".join(failures))
