"""The words in which a provider describes its resources: properties, types, and who sets what."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sandbox.providers.values import Values

if TYPE_CHECKING:
    from sandbox.providers.call import Call, Created

Kind = Literal["string", "number", "integer", "boolean", "any", "asset", "list", "set", "map", "object"]


@dataclass(frozen=True, slots=True)
class Type:
    """The type of a property; a set is a list whose order means nothing."""

    kind: Kind
    element: Type | None = None
    fields: Mapping[str, Property] = field(default_factory=dict)
    ignores_case: bool = False


STRING = Type("string")
NUMBER = Type("number")
INTEGER = Type("integer")
BOOLEAN = Type("boolean")
ANYTHING = Type("any")
ASSET = Type("asset")


def list_of(element: Type) -> Type:
    return Type("list", element)


def set_of(element: Type) -> Type:
    return Type("set", element)


def map_of(element: Type) -> Type:
    return Type("map", element)


def object_of(*properties: Property) -> Type:
    return Type("object", fields=by_name(properties))


Check = Callable[[str, Any], str | None]
"""Given an attribute's name and its known value, what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property of a resource, as the provider's SDK names it.

    `given`: a program may set it. `computed`: the cloud sets it when the program does not.
    `default`: what an unset property means; a default that is not empty is written into the inputs.
    `to_state`: how a given value looks in the state (a region in lower case, the hash of user data).
    `same`: whether an old state and a new input mean the same, where plain equality is too strict.
    `replaces`: whether a change needs a new object; a function decides by old and new value.
    `secret`: always kept as a secret, also when the program gives it in plain.
    `renewed`: the cloud sets it anew at every update, so that a preview cannot know it.
    """

    name: str
    type: Type = STRING
    given: bool = True
    required: bool = False
    computed: bool = False
    renewed: bool = False
    secret: bool = False
    default: Any = None
    replaces: bool | Callable[[Any, Any], bool] = False
    to_state: Callable[[Any], Any] | None = None
    same: Callable[[Any, Any, Values], bool] | None = None
    checks: Sequence[Check] = ()

    @property
    def attribute(self) -> str:
        """The name in the cloud's own spelling, as its error texts use it."""
        return snake_case(self.name)

    def needs_replacement(self, old: Any, new: Any) -> bool:
        return self.replaces(old, new) if callable(self.replaces) else self.replaces


def given(name: str, type_: Type = STRING, **options: Any) -> Property:
    """A property that the program may set."""
    return Property(name=name, type=type_, **options)


def required(name: str, type_: Type = STRING, **options: Any) -> Property:
    """A property that the program must set."""
    return Property(name=name, type=type_, required=True, **options)


def computed(name: str, type_: Type = STRING, *, renewed: bool = False) -> Property:
    """A property that only the cloud sets."""
    return Property(name=name, type=type_, given=False, computed=True, renewed=renewed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How a name is made when the program gives none: `<logical name>-<7 hex digits>`."""

    limit: int = 255
    lower_case: bool = False


class Operations(ABC):
    """What a resource does in its cloud; `Call` holds what each needs."""

    @abstractmethod
    async def create(self, call: Call) -> Created:
        """Make it; its id, and its outputs."""

    @abstractmethod
    async def read(self, call: Call) -> Values | None:
        """The outputs as they are now; None when the object is gone."""

    @abstractmethod
    async def update(self, call: Call) -> Values:
        """Make `call.changed` true in the cloud; the outputs afterwards."""

    @abstractmethod
    async def delete(self, call: Call) -> None:
        """Remove it."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource type of a provider.

    `rules` and `change_rules` say what is wrong with known inputs, and with a change of state.
    `records_failed_updates`: a failed update leaves the new values in the state with an error mark.
    `compares_inputs`: a change is one of the inputs; otherwise one between the state and the inputs.
    `tracks_defaults`: inputs list the properties filled in here, and unset names are made up.
    `creation_warning`: shown with the plan of a new one.
    `import_path`: the properties that come before the id when an existing object is imported as `a/b/id`, and their
    separator.
    """

    token: str
    properties: Mapping[str, Property]
    operations: Operations
    naming: Naming | None = None
    rules: Sequence[Callable[[Values], Iterable[str]]] = ()
    change_rules: Sequence[Callable[[Values, Values], Iterable[str]]] = ()
    records_failed_updates: bool = False
    compares_inputs: bool = False
    tracks_defaults: bool = True
    creation_warning: str = ""
    import_path: tuple[str, ...] = ()
    import_separator: str = "/"


@dataclass(frozen=True, kw_only=True)
class Function:
    """A lookup of a provider: arguments in, a result out, nothing changed."""

    token: str
    arguments: Mapping[str, Property]
    call: Callable[[Call], Any]


def by_name(properties: Iterable[Property]) -> dict[str, Property]:
    return {item.name: item for item in properties}


def snake_case(name: str) -> str:
    """`ipv4AddressPrivate` as `ipv4_address_private`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def camel_case(name: str) -> str:
    """`ipv4_address_private` as `ipv4AddressPrivate`."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
