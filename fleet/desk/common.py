"""What the commands have in common."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet.errors import FleetError
from fleet.pulumi_cli import Project, PulumiCli

Stack = Annotated[str, typer.Option("--stack", "-s", help="The stack, such as dev or prod.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; messages go to stderr.")]


def say(text: str) -> None:
    """Messages go to stderr, so that stdout holds only what a script reads."""
    print(text, file=sys.stderr, flush=True)


def emit(document: Any) -> None:
    print(json.dumps(document, indent=2))


def pulumi_cli() -> PulumiCli:
    return PulumiCli(Project.find(Path.cwd()))


def secret_variable(name: str, command: str) -> str:
    """A secret that `pulumi` hands over in the environment. Raises FleetError when it is absent."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise FleetError(
            f"{name} is not set; `fleet {command}` takes its keys from the environment, never by argument"
        )
    return value + "\n"
