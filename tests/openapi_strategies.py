"""Requests generated from the OpenAPI description: bodies its schemas allow, and bodies broken on purpose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.openapi import Json, OpenApi

# What strings without a pattern are made of: enough to confuse, short enough to be read in a report.
_TEXT = st.text(alphabet="abcXYZ019 .:-_@/äß\n", max_size=12)
_NUMBER = st.integers(min_value=-3, max_value=70_000)
_JUNK = st.one_of(st.none(), st.booleans(), _NUMBER, _TEXT, st.lists(_NUMBER, max_size=2), st.just({}))
_DEEPEST = 6


def mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual value seven times out of eight."""
    return st.sampled_from([usual] * 7 + [other]).flatmap(lambda chosen: chosen)


class Bodies:
    """Strategies for request bodies.

    `pools` gives, by property name, values that mean something in the cloud at hand, so that some requests succeed;
    optional properties with an empty pool are left out.
    """

    def __init__(self, openapi: OpenApi, pools: Mapping[str, Sequence[Any]]) -> None:
        self._openapi = openapi
        self._pools = pools

    def allowed(self, schema: Json) -> st.SearchStrategy[Any]:
        """Values the schema allows."""
        return self._of(schema, "", 0)

    def broken(self, schema: Json) -> st.SearchStrategy[Any]:
        """Values the schema allows, then spoilt: a field gone, junk in a field, a field nobody knows, or no object."""
        how = st.sampled_from(["drop", "junk", "add", "whole"])
        return st.builds(_spoil, self.allowed(schema), how, _JUNK, st.integers(min_value=0, max_value=20))

    def _of(self, schema: Json, name: str, depth: int) -> st.SearchStrategy[Any]:
        schema = self._openapi.resolve(schema)
        free = self._free(schema, name, depth)
        merged = self._merged(schema)
        if merged.get("type") in ("array", "object") or "properties" in merged:
            return free
        pool = [value for value in self._pools.get(name, ()) if value in merged.get("enum", [value])]
        return mostly(st.sampled_from(pool), free) if pool else free

    def _free(self, schema: Json, name: str, depth: int) -> st.SearchStrategy[Any]:
        for keyword in ("oneOf", "anyOf"):
            if keyword in schema and "properties" not in schema and schema[keyword] and depth < _DEEPEST:
                return st.one_of(*(self._of(branch, name, depth + 1) for branch in schema[keyword]))
        merged = self._merged(schema)
        if "properties" in merged:
            return self._object(merged, depth)
        if "enum" in merged:
            return st.sampled_from(merged["enum"])
        match merged.get("type"):
            case "array":
                return st.lists(self._of(merged["items"], name, depth + 1), max_size=3)
            case "integer" | "number":
                return _NUMBER
            case "boolean":
                return st.booleans()
            case "string":
                return _string(merged)
            case _:
                return _JUNK

    def _object(self, schema: Json, depth: int) -> st.SearchStrategy[Json]:
        writable = {key: value for key, value in schema["properties"].items() if not value.get("readOnly")}
        required = [key for key in schema["required"] if key in writable]
        fields = {key: self._of(value, key, depth + 1) for key, value in writable.items()}
        return st.fixed_dictionaries(
            {key: fields[key] for key in required},
            optional={
                key: value
                for key, value in fields.items()
                if key not in required and self._pools.get(key, [...])
            },
        )

    def _merged(self, schema: Json) -> Json:
        """The schema with its `allOf` folded in; of choices inside it, the first."""
        schema = self._openapi.resolve(schema)
        merged: Json = {key: value for key, value in schema.items() if key not in ("allOf", "anyOf", "oneOf")}
        merged["required"] = list(schema.get("required", ()))
        parts = [*schema.get("allOf", ()), *schema.get("anyOf", ())[:1], *schema.get("oneOf", ())[:1]]
        for part in parts:
            inner = self._merged(part)
            merged["required"] += inner.pop("required")
            properties = {**inner.pop("properties", {}), **merged.get("properties", {})}
            merged = {**inner, **merged}
            if properties:
                merged["properties"] = properties
        return merged


def _string(schema: Json) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        pattern = re.compile(str(schema["pattern"]))
        return st.from_regex(pattern, fullmatch=True).filter(lambda text: len(text) < 40)
    if schema.get("format") == "uuid":
        return st.uuids().map(str)
    return _TEXT


def _spoil(body: Any, how: str, junk: Any, which: int) -> Any:
    if how == "whole" or not isinstance(body, dict) or not body:
        return junk
    key = sorted(body)[which % len(body)]
    if how == "drop":
        return {name: value for name, value in body.items() if name != key}
    if how == "junk":
        return {**body, key: junk}
    return {**body, "nobody_knows_this": junk}
