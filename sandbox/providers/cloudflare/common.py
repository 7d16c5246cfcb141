"""What Cloudflare's resources share: bodies, answers, times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.providers.schema import Property, camel_case
from sandbox.providers.values import Values

PREFIX = "cloudflare:index"
FAILED = "failed to make http request: "
# What the plugin says of settings, which exist as long as their zone does.
NOT_DESTROYED = (
    "This resource cannot be destroyed. If you create this resource, it will be present in the API until manually "
    "deleted."
)
NOT_RESET = (
    "This removes the setting from the state but does not change it in the API. To reset it there, refer to "
    "Cloudflare's documentation."
)
GONE = "Resource not found: the resource was not found on the server and will be removed from state."


def token(name: str) -> str:
    """`DnsRecord` as `cloudflare:index/dnsRecord:DnsRecord`."""
    return f"{PREFIX}/{name[0].lower()}{name[1:]}:{name}"


def to_api(properties: Mapping[str, Property], values: Values) -> Values:
    """The given values in the API's spelling, nested objects too."""
    body: Values = {}
    for name, value in values.items():
        spec = properties.get(name)
        if spec is None or not spec.given or value is None:
            continue
        body[spec.attribute] = to_api(spec.type.fields, value) if spec.type.fields else value
    return body


def from_api(value: Any) -> Any:
    """An answer in the SDK's spelling."""
    if isinstance(value, Mapping):
        return {camel_case(name): from_api(item) for name, item in value.items()}
    return [from_api(item) for item in value] if isinstance(value, list) else value


def moment(text: Any) -> Any:
    """A time as the plugin keeps it: without fractions of a second."""
    if not isinstance(text, str) or "." not in text:
        return text
    head, _, tail = text.partition(".")
    return head + tail.lstrip("0123456789")
