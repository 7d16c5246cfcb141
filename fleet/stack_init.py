"""What a new stack needs before its first `up` and a person should not type."""

from __future__ import annotations

import base64
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from fleet.errors import FleetError
from fleet.identity import SEED_BYTES, Identity
from fleet.pulumi_cli import PulumiCli, last_lines

SEED_KEY = "seed"
# Only the characters that Pulumi allows in a stack's name, and a tag at DigitalOcean too.
STACK_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Initialized:
    """What was missing and has been made."""

    stack: str
    created: bool
    seeded: bool


def initialize(
    cli: PulumiCli, stack: str, say: Say, *, secrets_provider: str | None = None, renew_secrets: bool = False
) -> Initialized:
    """Create the stack and its seed where they are missing; may be run again at any time.

    `renew_secrets`: when the stack is new in this backend and its config file holds secrets that the passphrase does
    not open, drop these secrets instead of failing. They belonged to a stack that is gone.
    """
    check_name(stack)
    _check_passphrase(cli.backend_url(), secrets_provider)
    created = not _exists(cli, stack)
    if created:
        _create(cli, stack, say, secrets_provider, renew_secrets=renew_secrets)
        say(f"Created stack {stack} in {cli.backend_url()}")
    seeded = _seed(cli, stack)
    say(f"Made the seed of stack {stack}'s secrets" if seeded else f"Stack {stack} has its seed")
    return Initialized(stack, created, seeded)


def check_name(stack: str) -> str:
    """The stack's name. Raises FleetError unless it can be a droplet tag and part of a host name."""
    if not STACK_NAME.fullmatch(stack):
        raise FleetError(
            f"{stack!r} cannot be a stack's name; use up to 40 of a-z, 0-9 and -, such as dev or prod"
        )
    return stack


def new_seed() -> str:
    return base64.b64encode(secrets.token_bytes(SEED_BYTES)).decode()


def _check_passphrase(backend_url: str, secrets_provider: str | None) -> None:
    """A backend of files and buckets encrypts with a passphrase, unless a key service is named."""
    own_backend = not backend_url.startswith(("https://", "http://"))
    given = {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & set(os.environ)
    if own_backend and secrets_provider in {None, "passphrase"} and not given:
        raise FleetError(
            "no passphrase for the stack's secrets; export PULUMI_CONFIG_PASSPHRASE_FILE (a file that only you can "
            "read) or PULUMI_CONFIG_PASSPHRASE, or name a key service with --secrets-provider"
        )


def _exists(cli: PulumiCli, stack: str) -> bool:
    return any(name.rpartition("/")[2] == stack for name in cli.stacks())


def _create(
    cli: PulumiCli, stack: str, say: Say, secrets_provider: str | None, *, renew_secrets: bool
) -> None:
    arguments = ["stack", "init", "--stack", stack, "--no-select"]
    if secrets_provider:
        arguments += ["--secrets-provider", secrets_provider]
    done = cli.attempt(*arguments)
    file = cli.project.config_file(stack)
    if done.returncode != 0 and "incorrect passphrase" in done.stderr:
        if not renew_secrets:
            raise FleetError(
                f"{file.name} holds secrets of another passphrase; export the right one, or if the stack they "
                f"belonged to is gone: `fleet init {stack} --renew-secrets`"
            )
        kept, dropped = without_secrets(file.read_text())
        file.write_text(kept)
        say(f"Dropped {', '.join(dropped)} from {file.name}: they cannot be opened, and the stack is new")
        done = cli.attempt(*arguments)
    if done.returncode != 0:
        raise FleetError(f"stack {stack} could not be created:\n{last_lines(done.stderr)}")


def without_secrets(text: str) -> tuple[str, list[str]]:
    """A stack's config file without its encryption salt and encrypted values, comments kept; and what went."""
    kept: list[str] = []
    dropped: list[str] = []
    lines = text.splitlines(keepends=True)
    index = 0
    while index < len(lines):
        line = lines[index]
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if match := re.match(r"(encryptionsalt|encryptedkey|secretsprovider):", line):
            dropped.append(match[1])
        elif (match := re.match(r"\s+(\S+):\s*$", line)) and re.match(r"\s+secure:", following):
            dropped.append(match[1])
            index += 1
        else:
            kept.append(line)
        index += 1
    return "".join(kept), dropped


def _seed(cli: PulumiCli, stack: str) -> bool:
    """Make the seed unless the stack has one. A seed is never replaced: it would be a rollout of everything."""
    key = f"{cli.project.name}:{SEED_KEY}"
    done = cli.attempt("config", "get", key, "--stack", stack)
    if done.returncode == 0:
        Identity.from_seed(done.stdout)
        return False
    if "not found" not in done.stderr:
        raise FleetError(f"{key} of stack {stack} cannot be read:\n{last_lines(done.stderr)}")
    # By stdin: a value among the arguments could be seen in the list of processes.
    cli.run("config", "set", "--secret", key, "--stack", stack, stdin=new_seed())
    return True
