"""Our providers know exactly the properties that the SDKs offer to a program."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from sandbox.providers.package import Package
from sandbox.providers.schema import Property, Resource, snake_case
from sandbox.providers.serve import PACKAGES

# Spellings in which the SDK's Python name is not the snake case of the wire's name.
_IGNORED_INPUTS = {"resource_name", "opts", "__props__", "__self__"}
_META = {"urn", "id", "pulumi_resource_name", "pulumi_resource_type"}


def _resources() -> Iterator[Any]:
    for package in PACKAGES:
        for token, resource in package.resources.items():
            yield pytest.param(package, resource, id=token)


def _functions() -> Iterator[Any]:
    for package in PACKAGES:
        for token in package.functions:
            yield pytest.param(package, token, id=token)


def _sdk_class(token: str) -> Any:
    package, module, name = token.split(":")
    folder = module.split("/")[0]
    path = f"pulumi_{package}" if folder == "index" else f"pulumi_{package}.{folder}"
    return getattr(importlib.import_module(path), name)


def _getters(cls: type) -> dict[str, Any]:
    """The wire names of a class's properties; the SDK's type makes them known by its getters."""
    names = {name for name in dir(cls) if isinstance(inspect.getattr_static(cls, name), property)}
    return {name: inspect.getattr_static(cls, name).fget for name in names - _META}


def _wire_names(cls: type) -> set[str]:
    return {getattr(getter, "_pulumi_name", name) for name, getter in _getters(cls).items()}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_version_is_that_of_the_installed_sdk(package: Package) -> None:
    assert package.version == importlib.metadata.version(f"pulumi-{package.name}")


@pytest.mark.parametrize(("package", "resource"), list(_resources()))
def test_every_input_of_the_sdk_is_known(package: Package, resource: Resource) -> None:
    signature = inspect.signature(_sdk_class(resource.token)._internal_init)
    offered = set(signature.parameters) - _IGNORED_INPUTS
    assert {snake_case(spec.name) for spec in resource.properties.values() if spec.given} == offered


@pytest.mark.parametrize(("package", "resource"), list(_resources()))
def test_every_output_of_the_sdk_is_known(package: Package, resource: Resource) -> None:
    assert set(resource.properties) == _wire_names(_sdk_class(resource.token))


@pytest.mark.parametrize(("package", "resource"), list(_resources()))
def test_inputs_that_the_sdk_requires_are_required(package: Package, resource: Resource) -> None:
    source = inspect.getsource(_sdk_class(resource.token)._internal_init)
    required = {
        name for name in map(_name_of, resource.properties.values()) if f"property '{name}'" in source
    }
    assert {_name_of(spec) for spec in resource.properties.values() if spec.required} == required


@pytest.mark.parametrize(("package", "resource"), list(_resources()))
def test_types_of_inputs_are_those_of_the_sdk(package: Package, resource: Resource) -> None:
    signature = inspect.signature(_sdk_class(resource.token)._internal_init)
    wrong = {
        spec.name: str(signature.parameters[_name_of(spec)].annotation)
        for spec in resource.properties.values()
        if spec.given and not _fits(spec, str(signature.parameters[_name_of(spec)].annotation))
    }
    assert wrong == {}


@pytest.mark.parametrize(("package", "token"), list(_functions()))
def test_every_argument_of_a_lookup_is_known(package: Package, token: str) -> None:
    offered = set(inspect.signature(_sdk_function(token)).parameters) - {"opts"}
    assert {snake_case(name) for name in package.functions[token].arguments} == offered


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_configuration_key_of_the_sdk_is_known(package: Package) -> None:
    arguments = importlib.import_module(f"pulumi_{package.name}").ProviderArgs.__init__
    offered = set(inspect.signature(arguments).parameters) - {"__self__"}
    assert {snake_case(name) for name in package.configuration} == offered


def _sdk_function(token: str) -> Any:
    package, module, name = token.split(":")
    folder = module.split("/")[0]
    path = f"pulumi_{package}" if folder == "index" else f"pulumi_{package}.{folder}"
    return getattr(importlib.import_module(path), snake_case(name))


def _name_of(spec: Property) -> str:
    return snake_case(spec.name)


_SHAPES: Mapping[str, tuple[str, ...]] = {
    "string": ("Union[str,",),
    "integer": ("Union[int,",),
    "number": ("Union[float,", "Union[int,"),
    "boolean": ("Union[bool,",),
    "list": ("Union[Sequence[",),
    "set": ("Union[Sequence[",),
    "map": ("Union[Mapping[",),
    "object": ("Args'",),
    "asset": ("Asset",),
    "any": ("Any",),
}


def _fits(spec: Property, annotation: str) -> bool:
    plain = annotation.replace("typing.", "").replace("collections.abc.", "")
    if spec.name == "logging":
        return "Logging" in plain
    return any(shape in plain for shape in _SHAPES[spec.type.kind])
