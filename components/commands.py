"""What is run on a machine after its birth; the only module that knows the SDK of remote and local commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_command import local, remote

from components.model import DrainTimes
from fleet import commands, config

# How often a machine that is still booting is dialled; with pauses of up to 5 s that is about five minutes.
# https://www.pulumi.com/registry/packages/command/api-docs/remote/command/#connection
DIAL_TRIES = 60

# `virtualenv` in Pulumi.yaml.
_PYTHON = ".venv/bin/python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How the program logs in to one slot's machine, and knows that it is the right one."""

    address: pulumi.Input[str]
    host_key: str
    private_key: pulumi.Output[str] = field(repr=False)

    def connection(self) -> remote.ConnectionArgs:
        """A connection that trusts nothing but the pinned host key."""
        return remote.ConnectionArgs(
            host=self.address,
            user="root",
            private_key=self.private_key,
            host_key=self.host_key,
            dial_error_limit=DIAL_TRIES,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What a machine is handed after its birth, the same for all machines of a tier."""

    command: str
    content: pulumi.Output[str] = field(repr=False)
    bundle: pulumi.Output[str] = field(repr=False)
    """Of the content, what a machine that has its files already is handed."""
    digest: pulumi.Output[str]
    """Of the content, so that the gate runs again when it changes; not secret."""

    @classmethod
    def of(cls, bundle: pulumi.Output[config.Bundle], archive: bytes | None) -> Parcel:
        """A bundle, and for machines from a distribution's image the files that baking would have laid."""
        # Of a password as strong as these nothing can be learnt from it.
        digest = pulumi.Output.unsecret(bundle.apply(config.Bundle.digest))
        plain = bundle.apply(config.Bundle.to_json)
        text: pulumi.Output[str] = pulumi.Output.secret(plain)
        if archive is None:
            return cls(command=commands.RECEIVE, content=text, bundle=text, digest=digest)
        content = text.apply(lambda known: commands.delivery(archive, known))
        return cls(command=commands.INSTALL_AND_RECEIVE, content=content, bundle=text, digest=digest)


def deliver(
    name: str,
    connection: remote.ConnectionArgs,
    parcel: Parcel,
    machine: pulumi.CustomResource,
    opts: pulumi.ResourceOptions,
) -> remote.Command:
    """Hand a machine what it must know over standard input, again whenever that or the machine changes."""
    opts.additional_secret_outputs = ["stdout", "stderr"]
    return remote.Command(
        name,
        connection=connection,
        create=parcel.command,
        stdin=parcel.content,
        triggers=[machine.id],
        # Whatever it says is about secrets.
        logging=remote.Logging.NONE,
        add_previous_output_in_env=False,
        opts=opts,
    )


def rights(
    name: str, connection: remote.ConnectionArgs, told: pulumi.Output[str], opts: pulumi.ResourceOptions
) -> remote.Command:
    """Gives the site's user its rights in the database, from a machine that the database trusts; again for another
    user, and whenever another machine is there to do it, which changes nothing."""
    opts.additional_secret_outputs = ["stdout", "stderr"]
    return remote.Command(
        name,
        connection=connection,
        create=commands.grant_rights(),
        stdin=told,
        logging=remote.Logging.NONE,
        add_previous_output_in_env=False,
        opts=opts,
    )


def gate(
    name: str,
    connection: remote.ConnectionArgs,
    triggers: Sequence[pulumi.Input[Any]],
    opts: pulumi.ResourceOptions,
) -> remote.Command:
    """The checks that a machine must pass; absent from the state until it does."""
    return remote.Command(
        name,
        connection=connection,
        create=commands.GATE,
        triggers=triggers,
        add_previous_output_in_env=False,
        opts=opts,
    )


def drain(
    name: str,
    slot: str,
    login: Login,
    times: DrainTimes,
    machine: pulumi.CustomResource,
    opts: pulumi.ResourceOptions,
) -> local.Command:
    """Does nothing until it is deleted: then it lets the machine's visitors finish.

    It runs at the operator's desk, because a dead machine must not block the delete.
    """
    environment: Mapping[str, pulumi.Input[str]] = {
        commands.HOST_VARIABLE: login.address,
        commands.HOST_KEY_VARIABLE: login.host_key,
        commands.DEPLOY_KEY_VARIABLE: login.private_key,
    }
    return local.Command(
        name,
        delete=drain_command(slot, times),
        environment=environment,
        triggers=[machine.id],
        add_previous_output_in_env=False,
        opts=opts,
    )


def peers(
    name: str,
    logins: Mapping[str, tuple[Login, pulumi.Output[str]]],
    machines: Sequence[pulumi.CustomResource],
    opts: pulumi.ResourceOptions,
) -> local.Command:
    """Tells every member where the others are, again when one of them is another machine.

    `logins` holds each slot's login and its address in the private network. It runs at the operator's desk, because
    a member that cannot be reached must not keep the others from knowing.
    """
    return local.Command(
        name,
        create=at_desk("peers"),
        stdin=_membership(logins),
        triggers=[machine.id for machine in machines],
        add_previous_output_in_env=False,
        opts=opts,
    )


def _membership(logins: Mapping[str, tuple[Login, pulumi.Output[str]]]) -> pulumi.Output[str]:
    """What `fleet peers` reads; secret, as the key in it is."""
    first, _ = next(iter(logins.values()))
    return pulumi.Output.json_dumps(
        {
            "deploy_key": first.private_key,
            "members": {
                slot: {
                    "address": login.address,
                    "private_address": private_address,
                    "host_key": login.host_key,
                }
                for slot, (login, private_address) in logins.items()
            },
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How the canary is watched; `fleet canary` compares it with the other members of the stack."""

    stack: str
    slot: str
    seconds: int
    propagation: int
    seed: str = field(repr=False)
    cloud_token: str | None = field(repr=False)
    """The cloud's token where the stack's config has one; else it is in the environment."""


def canary(
    name: str, watch: Watch, login: Login, machine: pulumi.CustomResource, opts: pulumi.ResourceOptions
) -> local.Command:
    """Watches a machine that has just got visitors; absent from the state until it has passed."""
    environment: dict[str, pulumi.Input[str]] = {
        commands.SEED_VARIABLE: pulumi.Output.secret(watch.seed),
        commands.HOST_VARIABLE: login.address,
    }
    if watch.cloud_token is not None:
        environment[commands.CLOUD_TOKEN_VARIABLE] = pulumi.Output.secret(watch.cloud_token)
    return local.Command(
        name,
        create=at_desk(
            f"canary --stack {watch.stack} --slot {watch.slot} --seconds {watch.seconds} "
            f"--propagation {watch.propagation}"
        ),
        # Other seconds or another token are no reason to watch a machine again that has passed.
        update=":",
        environment=environment,
        triggers=[machine.id],
        add_previous_output_in_env=False,
        opts=opts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Whose burst members are taken away, and with which tokens where the stack's config has them."""

    stack: str
    variables: Mapping[str, str] = field(repr=False)


def sweep(name: str, swept: Sweep, opts: pulumi.ResourceOptions) -> local.Command:
    """Does nothing until it is deleted: then what a controller has made, which no state knows, goes.

    It runs at the operator's desk, because a dead node must not leave machines behind.
    """
    environment = {key: pulumi.Output.secret(value) for key, value in swept.variables.items()}
    return local.Command(
        name,
        delete=at_desk(f"sweep --stack {swept.stack}"),
        environment=environment or None,
        add_previous_output_in_env=False,
        opts=opts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """Which burst members are told something, and how the desk gets to them."""

    stack: str
    seed: str = field(repr=False)
    cloud_token: str | None = field(repr=False)
    """The cloud's token where the stack's config has one; else it is in the environment."""


def tell_bursts(
    name: str, told: Bursts, bundle: pulumi.Output[str], opts: pulumi.ResourceOptions
) -> local.Command:
    """Hands members that no state knows what those in the slots were handed, again whenever that changes."""
    environment = {commands.SEED_VARIABLE: pulumi.Output.secret(told.seed)}
    if told.cloud_token is not None:
        environment[commands.CLOUD_TOKEN_VARIABLE] = pulumi.Output.secret(told.cloud_token)
    return local.Command(
        name,
        create=at_desk(f"tell --stack {told.stack}"),
        stdin=bundle,
        environment=environment,
        add_previous_output_in_env=False,
        opts=opts,
    )


def drain_command(slot: str, times: DrainTimes) -> str:
    """The shell line of a drain."""
    return at_desk(
        f"drain --slot {slot} --propagation {times.propagation} --quiet {times.quiet} --cap {times.cap}"
    )


def at_desk(arguments: str) -> str:
    """The shell line of a command of the operator's desk, the same on every computer, so that a state written on one
    shows no changes on another. Commands run in the program's directory, where Pulumi.yaml has the environment."""
    return (
        f"if [ -x {_PYTHON} ]; then exec {_PYTHON} -m fleet.cli {arguments}; else exec fleet {arguments}; fi"
    )
