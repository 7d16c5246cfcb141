"""Request bodies as strict pydantic models, and their mistakes in one readable line."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from sandbox.api.errors import unprocessable

_SHOWN = 80

Model = TypeVar("Model", bound="Body")


class Body(BaseModel):
    """A request body: unknown fields are errors, nothing is converted, and null is no way to leave a field out.

    `accepts_null` names the fields in which the API takes a null for "not given"; None means all.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    accepts_null: ClassVar[frozenset[str] | None] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _nulls(cls, raw: Any) -> Any:
        if cls.accepts_null is not None and isinstance(raw, dict):
            for name, value in raw.items():
                if value is None and name in cls.model_fields and name not in cls.accepts_null:
                    raise ValueError(f"{name} must not be null")
        return raw

    def sent(self) -> dict[str, Any]:
        """Only the fields the request carried."""
        return self.model_dump(exclude_unset=True)


def explain(error: ValidationError) -> str:
    """The first mistake of a body: the field, what is wrong, the value."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "extra_forbidden":
            return f'unknown field "{place}"'
        case "missing":
            return f"{place} is required"
        case "value_error":
            return str(first["ctx"]["error"])
        case _:
            return f"{place}: {first['msg']}{_value(first['input'])}".lstrip(": ")


def parse(model: type[Model], raw: Any) -> Model:
    """The body as that model; ApiError 422 naming the first mistake."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise unprocessable(explain(error)) from error


def _value(value: Any) -> str:
    text = repr(value)
    return f", not {text}" if len(text) <= _SHOWN else ""
