"""The inputs that a program would have had to give for what the cloud now holds."""

from __future__ import annotations

from sandbox.providers.call import OperationError
from sandbox.providers.check import DEFAULTS
from sandbox.providers.diff import canonical, without_defaults
from sandbox.providers.schema import Property, Resource
from sandbox.providers.values import Values


def refreshed_inputs(resource: Resource, old: Values, state: Values, *, imported: bool) -> Values:
    """Inputs after a refresh: those given before, with what changed in the cloud; all that are set for an import."""
    if imported:
        return _imported(resource, state)
    inputs = dict(old)
    for name, value in old.items():
        spec = resource.properties.get(name)
        if spec is not None and name in state and not _means(spec, value, state):
            inputs[name] = state[name]
    return inputs


def imported_state(resource: Resource, key: str) -> tuple[Values, str]:
    """What an id given for an import tells: the properties before it, and the id itself.

    Raises: OperationError when it has not as many parts as it must.
    """
    parts = key.split(resource.import_separator)
    if len(parts) != len(resource.import_path) + 1:
        form = resource.import_separator.join([*resource.import_path, "id"])
        raise OperationError(f"cannot import {key!r}: give its id as {form}")
    return dict(zip(resource.import_path, parts, strict=False)), parts[-1]


def _imported(resource: Resource, state: Values) -> Values:
    inputs: Values = {
        spec.name: state[spec.name]
        for spec in resource.properties.values()
        if spec.given and canonical(spec.type, state.get(spec.name)) not in (None, spec.default)
    }
    return inputs | {DEFAULTS: []} if resource.tracks_defaults else inputs


def _means(spec: Property, value: object, state: Values) -> bool:
    """Whether an input still says what the state says."""
    given = without_defaults(value)
    if spec.to_state is not None:
        given = spec.to_state(given)
    if spec.same is not None and spec.same(state[spec.name], given, state):
        return True
    return bool(canonical(spec.type, given) == canonical(spec.type, state[spec.name]))
