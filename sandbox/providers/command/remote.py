"""Commands on other machines, over SSH: `remote.Command`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.providers.call import Call, Created, OperationError
from sandbox.providers.command.connection import CONNECTION, dial
from sandbox.providers.command.output import Output
from sandbox.providers.command.previous import new_id, output_of, previous_output
from sandbox.providers.schema import (
    ANYTHING,
    BOOLEAN,
    STRING,
    Operations,
    Resource,
    by_name,
    computed,
    given,
    list_of,
    map_of,
)
from sandbox.providers.validators import one_of
from sandbox.providers.values import Values

if TYPE_CHECKING:
    import asyncssh


async def run(command: str, call: Call, previous: Values) -> Values:
    """Run one command on the machine to its end; its outputs.

    The variables of `environment` arrive only if the machine's SSH server accepts them (AcceptEnv).
    Raises: OperationError with all its output when it fails.
    """
    import asyncssh

    inputs = call.inputs
    environment = {**inputs.get("environment", {}), **previous_output(inputs, previous)}
    output = Output(call)
    async with dial(call) as connection:
        try:
            async with connection.create_process(command, env=environment, encoding=None) as process:
                process.stdin.write((inputs.get("stdin") or "").encode())
                process.stdin.write_eof()
                await output.collect(process.stdout, process.stderr)
                await process.wait_closed()
        except (asyncssh.Error, BrokenPipeError, ConnectionError) as error:
            raise OperationError(output.failure(f"ssh: {error}", command)) from error
    if process.exit_status != 0:
        raise OperationError(output.failure(_describe(process), command))
    return output.values


def _describe(process: asyncssh.SSHClientProcess[bytes]) -> str:
    if process.exit_signal is not None:
        return f"Process exited with status 128 from signal {process.exit_signal[0]}"
    if process.exit_status is None:
        return "wait: remote command exited without exit status or exit signal"
    return f"Process exited with status {process.exit_status}"


class _Commands(Operations):
    async def create(self, call: Call) -> Created:
        command = call.inputs.get("create")
        outputs = output_of({}) if command is None else await run(command, call, {})
        return Created(new_id(call.name), outputs)

    async def read(self, call: Call) -> Values | None:
        return {}

    async def update(self, call: Call) -> Values:
        command = call.inputs.get("update") or call.inputs.get("create")
        return output_of(call.state) if command is None else await run(command, call, call.state)

    async def delete(self, call: Call) -> None:
        if call.inputs.get("delete") is not None:
            await run(call.inputs["delete"], call, call.state)


COMMAND = Resource(
    token="command:remote:Command",  # noqa: S106 - a type token
    compares_inputs=True,
    tracks_defaults=False,
    operations=_Commands(),
    properties=by_name(
        [
            CONNECTION,
            given("create"),
            given("update"),
            given("delete"),
            given("stdin"),
            given("logging", checks=[one_of("stdout", "stderr", "stdoutAndStderr", "none")]),
            given("environment", map_of(STRING)),
            given("addPreviousOutputInEnv", BOOLEAN),
            given("triggers", list_of(ANYTHING), replaces=True),
            computed("stdout", renewed=True),
            computed("stderr", renewed=True),
        ]
    ),
)
