"""What a command gets to know of its last run."""

from __future__ import annotations

import secrets

from sandbox.providers.values import Values

_ID_BYTES = 4


def previous_output(inputs: Values, previous: Values) -> dict[str, str]:
    """Environment variables with the last run's output; none when there is none, or they are not wanted."""
    if inputs.get("addPreviousOutputInEnv") is False:
        return {}
    named = {"PULUMI_COMMAND_STDOUT": "stdout", "PULUMI_COMMAND_STDERR": "stderr"}
    return {variable: previous[name] for variable, name in named.items() if previous.get(name)}


def output_of(state: Values) -> Values:
    return {name: state.get(name) or "" for name in ("stdout", "stderr")}


def new_id(prefix: str) -> str:
    """`<prefix>` and 8 hex digits."""
    return prefix + secrets.token_hex(_ID_BYTES)
