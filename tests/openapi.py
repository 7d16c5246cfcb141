"""DigitalOcean's own OpenAPI description as a judge of requests and answers; read from outside the repository."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import jsonschema
from jsonschema import Draft4Validator, FormatChecker, ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT4

Json = dict[str, Any]

_VARIABLE = "FLOTILLA_OPENAPI"
_NEARBY = Path(__file__).resolve().parents[2] / "shared" / "openapi" / "digitalocean.json"
_PAGES = ("page", "per_page")
# What DigitalOcean's clients send for "not given" where the description has no such value.
_FORGIVEN = (("ssh_keys", None), ("rules", None), ("environment", ""), ("project_id", ""))
_NULL_AWARE = ("type", "enum", "allOf", "anyOf", "oneOf", "$ref")


class NonConformingError(AssertionError):
    """A request that was accepted, or an answer, is not what the description says."""


def description_path() -> Path | None:
    """The file named by FLOTILLA_OPENAPI, or the one beside the repository."""
    path = Path(os.environ[_VARIABLE]) if _VARIABLE in os.environ else _NEARBY
    return path if path.is_file() else None


@cache
def description() -> OpenApi | None:
    path = description_path()
    return None if path is None else OpenApi(json.loads(path.read_text()))


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path of the description, with what its refs point to."""

    path: str
    document: Json
    shared_parameters: list[Json]


class OpenApi:
    """Judges single exchanges; every schema stays where it is, so that refs into paths hold."""

    def __init__(self, document: Json) -> None:
        self._document = document
        resource = DRAFT4.create_resource(document)
        # Crawled once: else every validator would walk the whole description again.
        self._registry: Registry[Any] = Registry().with_resource("urn:openapi", resource).crawl()
        self._validators: dict[int, Any] = {}
        self._checker = _format_checker()
        self._operations = {
            (method.upper(), path): Operation(path, item[method], item.get("parameters", []))
            for path, item in document["paths"].items()
            for method in ("get", "post", "put", "patch", "delete")
            if method in item
        }
        # Paths with fewer variables first: /v2/droplets/actions is no droplet.
        self._patterns = sorted(
            (
                (path.count("{"), re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), path)
                for path in document["paths"]
            ),
            key=lambda entry: entry[0],
        )

    def operation(self, method: str, path: str) -> Operation | None:
        for _, pattern, name in self._patterns:
            if pattern.fullmatch(path) and (method, name) in self._operations:
                return self._operations[method, name]
        return None

    def check(self, method: str, target: str, body: Any, status: int, answer: Any) -> None:
        """NonConformingError when an accepted request or the answer breaks the description."""
        parts = urlsplit(target)
        operation = self.operation(method, parts.path)
        if operation is None:
            if status < 400:
                raise NonConformingError(f"{method} {parts.path} is accepted but not described")
            return
        if status < 400:
            self._check_query(operation, dict(parse_qsl(parts.query, keep_blank_values=True)))
            self._check_body(operation, body)
        self._check_answer(operation, status, answer)

    def body_schema(self, operation: Operation) -> Json | None:
        """The schema of the request's body, refs unresolved; None when it has none."""
        if "requestBody" not in operation.document:
            return None
        content = self.resolve(operation.document["requestBody"])["content"]
        schema: Json = content["application/json"]["schema"]
        return schema

    def resolve(self, node: Json) -> Json:
        """The node a ref points to, or the node itself."""
        while "$ref" in node:
            current: Any = self._document
            for step in node["$ref"].removeprefix("#/").split("/"):
                key = step.replace("~1", "/").replace("~0", "~").replace("%7B", "{").replace("%7D", "}")
                current = current[int(key)] if isinstance(current, list) else current[key]
            node = current
        return node

    def _check_query(self, operation: Operation, query: dict[str, str]) -> None:
        declared = {}
        for parameter in [*operation.document.get("parameters", ()), *operation.shared_parameters]:
            resolved = self.resolve(parameter)
            if resolved["in"] == "query":
                declared[resolved["name"]] = resolved["schema"]
        for name, text in query.items():
            if (
                name not in declared
                and name in _PAGES
                and "list" in operation.document["operationId"].split("_")
            ):
                continue  # forgotten in the description of some lists
            if name not in declared:
                raise NonConformingError(
                    f"{operation.path}: query parameter {name} is accepted but not described"
                )
            schema = self.resolve(declared[name])
            value: Any = text
            if schema.get("type") in ("integer", "boolean"):
                value = json.loads(text)
            self._validate(schema, value, f"{operation.path}: query parameter {name}")

    def _check_body(self, operation: Operation, body: Any) -> None:
        schema = self.body_schema(operation)
        if body is None:
            return
        if schema is None:
            raise NonConformingError(f"{operation.path}: a body is accepted but not described")
        self._validate(schema, _forgiven(operation, body), f"{operation.path}: request")

    def _check_answer(self, operation: Operation, status: int, answer: Any) -> None:
        responses = operation.document["responses"]
        name = str(status) if str(status) in responses else "default"
        if name == "default" and status < 400:
            raise NonConformingError(f"{operation.path}: status {status} is not described")
        content = self.resolve(responses[name]).get("content")
        if content is None:
            if answer is not None:
                raise NonConformingError(f"{operation.path}: {status} must have no body")
            return
        if answer is None:
            raise NonConformingError(f"{operation.path}: {status} must have a body")
        self._validate(content["application/json"]["schema"], answer, f"{operation.path}: answer {status}")

    def _validate(self, schema: Json, value: Any, place: str) -> None:
        validator = self._validators.get(id(schema))
        if validator is None:
            validator = _NullableValidator(
                _absolute(schema), registry=self._registry, format_checker=self._checker
            )
            self._validators[id(schema)] = validator
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error is not None:
            where = "/".join(str(part) for part in error.absolute_path)
            raise NonConformingError(f"{place}: at {where or 'the top'}: {error.message[:400]}")


def _forgiven(operation: Operation, body: Any) -> Any:
    """A request without what the real API takes from DigitalOcean's own clients although the description does not.

    Null for no SSH keys and for no trusted sources, no `ports` in a rule for ICMP, an empty environment of a project,
    an empty project of a database cluster, no type in a change of a DNS record, and the tag of a database cluster.
    """
    if not isinstance(body, dict):
        return body
    clean = {name: value for name, value in body.items() if (name, value) not in _FORGIVEN}
    if operation.path == "/v2/tags/{tag_id}/resources" and isinstance(body.get("resources"), list):
        clean["resources"] = [
            {**one, "resource_type": "droplet"} if one.get("resource_type") == "database" else one
            for one in body["resources"]
        ]
    if operation.path.endswith("/records/{domain_record_id}"):
        clean.setdefault("type", "A")
    for side in ("inbound_rules", "outbound_rules"):
        if clean.get(side):
            clean[side] = [
                {"ports": "0", **rule} if rule["protocol"] == "icmp" else rule for rule in clean[side]
            ]
    return clean


def _absolute(node: Any) -> Any:
    """A copy whose local refs name the whole document, for schemas validated on their own."""
    if isinstance(node, dict):
        return {
            key: f"urn:openapi{value}" if key == "$ref" and isinstance(value, str) else _absolute(value)
            for key, value in node.items()
        }
    return [_absolute(item) for item in node] if isinstance(node, list) else node


def _nullable(keyword: str) -> Any:
    """OpenAPI 3.0's `nullable` beside any keyword that would refuse null.

    A `oneOf` with a discriminator is chosen by that field, so its branches need not exclude each other.
    """
    checked = Draft4Validator.VALIDATORS[keyword]
    any_of = Draft4Validator.VALIDATORS["anyOf"]

    def check(validator: Any, value: Any, instance: Any, schema: Json) -> Iterator[ValidationError]:
        if instance is None and schema.get("nullable"):
            return
        chosen = any_of if keyword == "oneOf" and "discriminator" in schema else checked
        yield from chosen(validator, value, instance, schema) or ()

    return check


_extend: Any = jsonschema.validators.extend
_NullableValidator = _extend(Draft4Validator, {keyword: _nullable(keyword) for keyword in _NULL_AWARE})


def _format_checker() -> FormatChecker:
    checker = FormatChecker(["ipv4", "ipv6"])
    checker.checks("date-time", raises=ValueError)(_is_moment)
    checker.checks("uuid", raises=ValueError)(lambda value: not isinstance(value, str) or bool(UUID(value)))
    checker.checks("uri")(lambda value: not isinstance(value, str) or bool(urlsplit(value).scheme))
    return checker


def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None
