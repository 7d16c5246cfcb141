"""Pulumi property values: the protobuf Struct of the wire as plain Python values, and back.

Secrets arrive as `Secret`, values that are not known before an update runs as `UNKNOWN`, assets as `Asset`.
The special signatures are those of the engine's protocol:
https://github.com/pulumi/pulumi/blob/v3.259.0/sdk/go/common/resource/sig/sig.go
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import struct_pb2

Values = dict[str, Any]

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a type mark, not a password
_OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_RESOURCE: Final = "5cf8f73096256a8f31e491e813e4eb8e"
_ASSET: Final = "c44067f5952c0a294b673a41bacd8c17"
_ARCHIVE: Final = "0def7320c3a5731c473e5ecbe6d01bc7"
_UNKNOWN_TEXT: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS: Final = frozenset(
    {
        _UNKNOWN_TEXT,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


class Unknown:
    """The type of `UNKNOWN`, the value that a preview cannot know yet."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that the engine stores encrypted and never shows."""

    value: Any


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, text or archive given by the program; exactly one of the contents is set.

    `hash` is the engine's SHA-256 of the content, and enough to tell whether it changed.
    """

    archive: bool = False
    hash: str = ""
    text: str | None = None
    path: str | None = None
    uri: str | None = None
    assets: Mapping[str, Any] | None = None


def decode(struct: struct_pb2.Struct) -> Values:
    """The properties of a request."""
    return {name: _decode(value) for name, value in struct.fields.items()}


def encode(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """The properties of an answer; a property whose value is None is left out."""
    struct = struct_pb2.Struct()
    for name, value in values.items():
        if value is not None:
            struct.fields[name].CopyFrom(_encode(value))
    return struct


def _decode(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_decode(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _decode_object(decode(value.struct_value))
    return None


def _decode_object(fields: Values) -> Any:
    signature = fields.get(_SIGNATURE)
    if signature == _SECRET:
        return Secret(fields.get("value"))
    if signature == _OUTPUT:
        known = fields.get("value", UNKNOWN)
        return Secret(known) if fields.get("secret") else known
    if signature == _RESOURCE:
        return fields.get("id") or fields.get("urn")
    if signature in (_ASSET, _ARCHIVE):
        return Asset(
            archive=signature == _ARCHIVE,
            hash=fields.get("hash") or "",
            text=fields.get("text"),
            path=fields.get("path"),
            uri=fields.get("uri"),
            assets=fields.get("assets"),
        )
    return fields


def _encode(value: Any) -> struct_pb2.Value:
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int() | float():
            return struct_pb2.Value(number_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case Unknown():
            return struct_pb2.Value(string_value=_UNKNOWN_TEXT)
        case Secret():
            return _encode_signed(_SECRET, {"value": value.value})
        case Asset():
            return _encode_asset(value)
        case Mapping():
            return struct_pb2.Value(struct_value=encode(value))
        case list() | tuple():
            items = [_encode(item) for item in value]
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
        case _:
            raise TypeError(f"{type(value).__name__} {value!r} is no Pulumi property value")


def _encode_signed(signature: str, fields: Mapping[str, Any]) -> struct_pb2.Value:
    struct = struct_pb2.Struct()
    struct.fields[_SIGNATURE].string_value = signature
    for name, value in fields.items():
        struct.fields[name].CopyFrom(_encode(value))
    return struct_pb2.Value(struct_value=struct)


def _encode_asset(asset: Asset) -> struct_pb2.Value:
    contents = {"text": asset.text, "path": asset.path, "uri": asset.uri, "assets": asset.assets}
    fields: Values = {name: content for name, content in contents.items() if content is not None}
    return _encode_signed(_ARCHIVE if asset.archive else _ASSET, {"hash": asset.hash, **fields})


def reveal(value: Any) -> Any:
    """The value without its secret marks, at every depth."""
    match value:
        case Secret():
            return reveal(value.value)
        case Mapping():
            return {name: reveal(item) for name, item in value.items()}
        case list():
            return [reveal(item) for item in value]
        case _:
            return value


def _contains(value: Any, kind: type) -> bool:
    if isinstance(value, kind):
        return True
    if isinstance(value, Secret):
        return _contains(value.value, kind)
    if isinstance(value, Mapping):
        return any(_contains(item, kind) for item in value.values())
    return isinstance(value, list) and any(_contains(item, kind) for item in value)


def contains_secret(value: Any) -> bool:
    return _contains(value, Secret)


def contains_unknown(value: Any) -> bool:
    return _contains(value, Unknown)


def keep_secrets(values: Mapping[str, Any], marked: Mapping[str, Any]) -> Values:
    """Mark as secret every property that holds a secret in `marked`, so that an output is as secret as its input."""
    result: Values = dict(values)
    for name, example in marked.items():
        value = result.get(name)
        if value is None or isinstance(value, Secret):
            continue
        if isinstance(value, Mapping) and isinstance(example, Mapping):
            result[name] = keep_secrets(value, example)
        elif contains_secret(example):
            result[name] = Secret(value)
    return result
