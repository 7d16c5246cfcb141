"""Commands on the desk: `local.Command` and the lookup `local.run`.

They run as children of the engine would: with its environment, in the program's directory.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from sandbox.providers.call import Call, Created, OperationError
from sandbox.providers.command.assets import archive_of, find_assets
from sandbox.providers.command.output import Output
from sandbox.providers.command.previous import new_id, output_of, previous_output
from sandbox.providers.schema import (
    ANYTHING,
    ASSET,
    BOOLEAN,
    STRING,
    Function,
    Operations,
    Property,
    Resource,
    by_name,
    computed,
    given,
    list_of,
    map_of,
    required,
)
from sandbox.providers.validators import one_of
from sandbox.providers.values import Values

_SHELL = ["/bin/sh", "-c"]


async def run(command: str, call: Call, previous: Values) -> Values:
    """Run one command to its end; its outputs.

    Raises: OperationError with all its output when it fails or cannot be started.
    """
    inputs, engine = call.inputs, await call.session.process()
    directory = engine.directory / inputs.get("dir", "")
    environment = {**engine.environment, **inputs.get("environment", {}), **previous_output(inputs, previous)}
    process = await _start([*(inputs.get("interpreter") or _SHELL), command], command, directory, environment)
    output = Output(call)
    watch = asyncio.create_task(_kill_when_cancelled(process, call))
    try:
        await asyncio.gather(
            _feed(process, inputs.get("stdin") or ""), output.collect(process.stdout, process.stderr)
        )
        status = await process.wait()
    finally:
        watch.cancel()
        _kill(process)
    if status:
        raise OperationError(output.failure(_describe(status), command))
    return output.values | await asyncio.to_thread(_gather_files, directory, inputs)


async def _start(
    arguments: list[str], command: str, directory: Path, environment: dict[str, str]
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *arguments,
            cwd=directory,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise OperationError(f"{error}: running {command!r} in {directory}") from error


async def _feed(process: asyncio.subprocess.Process, text: str) -> None:
    if process.stdin is None:
        raise OperationError(f"the command (process {process.pid}) has no input")
    # A command need not read all it is offered.
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text.encode())
        await process.stdin.drain()
    process.stdin.close()


async def _kill_when_cancelled(process: asyncio.subprocess.Process, call: Call) -> None:
    await call.session.cancelled.wait()
    _kill(process)


def _kill(process: asyncio.subprocess.Process) -> None:
    """End the command and what it started, if they still run."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _describe(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    return f"signal: {signal.strsignal(-status) or -status}".lower()


def _gather_files(directory: Path, inputs: Values) -> Values:
    result: Values = {}
    if inputs.get("assetPaths"):
        result["assets"] = find_assets(directory, inputs["assetPaths"])
    if inputs.get("archivePaths"):
        result["archive"] = archive_of(find_assets(directory, inputs["archivePaths"]))
    return result


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


async def _run_once(call: Call) -> Values:
    return {**call.inputs, **await run(call.inputs["command"], call, {})}


_LOGGING = one_of("stdout", "stderr", "stdoutAndStderr", "none")
_RUN_PROPERTIES: tuple[Property, ...] = (
    given("stdin"),
    given("logging", checks=[_LOGGING]),
    given("interpreter", list_of(STRING)),
    given("dir"),
    given("environment", map_of(STRING)),
    given("assetPaths", list_of(STRING)),
    given("archivePaths", list_of(STRING)),
    given("addPreviousOutputInEnv", BOOLEAN),
)

COMMAND = Resource(
    token="command:local:Command",  # noqa: S106 - a type token
    compares_inputs=True,
    tracks_defaults=False,
    operations=_Commands(),
    properties=by_name(
        [
            given("create"),
            given("update"),
            given("delete"),
            given("triggers", list_of(ANYTHING), replaces=True),
            *_RUN_PROPERTIES,
            computed("stdout", renewed=True),
            computed("stderr", renewed=True),
            computed("assets", map_of(ASSET), renewed=True),
            computed("archive", ASSET, renewed=True),
        ]
    ),
)

RUN = Function(
    token="command:local:run",  # noqa: S106 - a type token
    arguments=by_name([required("command"), *_RUN_PROPERTIES]),
    call=_run_once,
)
