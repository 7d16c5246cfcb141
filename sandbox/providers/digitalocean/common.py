"""What DigitalOcean's resources share: tags, actions, paging, addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from sandbox.providers.call import Call, OperationError, Poll
from sandbox.providers.schema import Property, Type, given
from sandbox.providers.validators import tag

PREFIX = "digitalocean:index"
TAGS_TYPE = Type("set", Type("string", ignores_case=True))
# As in the official plugin, which waits an hour for any action of a droplet.
ACTION_LIMIT = 3600.0


def token(file: str) -> str:
    """`Droplet` as `digitalocean:index/droplet:Droplet`."""
    return f"{PREFIX}/{file[0].lower()}{file[1:]}:{file}"


def tags_property(name: str = "tags") -> Property:
    return given(name, TAGS_TYPE, checks=[tag])


def hidden(name: str) -> Property:
    """A text that only the cloud sets, and nobody may see."""
    return Property(name=name, given=False, computed=True, secret=True)


def lower(value: Any) -> Any:
    """Slugs are in lower case in the API, however the program wrote them."""
    return value.lower() if isinstance(value, str) else value


def number_or_text(value: str) -> int | str:
    """An id as the API wants it, or a slug or fingerprint."""
    return int(value) if value.isdecimal() else value


def drop_empty(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value not in (None, "", 0, [])}


async def pages(
    call: Call, path: str, key: str, query: Mapping[str, str | int] | None = None
) -> AsyncIterator[Any]:
    """Every object of a list, 200 at a time, as long as the answer names a next page."""
    page = 1
    while True:
        answer = await call.api.get(path, {"page": page, "per_page": 200, **(query or {})})
        for item in answer.get(key) or ():
            yield item
        links = (answer.get("links") or {}).get("pages") or {}
        if not links.get("next"):
            return
        page += 1


async def wait_for_action(
    call: Call, action: Mapping[str, Any], limit: float = ACTION_LIMIT
) -> Mapping[str, Any]:
    """Wait until an action of the API is done.

    Raises: OperationError when it fails or takes longer than `limit` seconds.
    """
    poll = Poll(call.session, limit)
    while True:
        answer = await call.api.get(f"/v2/actions/{action['id']}")
        current: Mapping[str, Any] = answer["action"]
        if current["status"] == "errored":
            raise OperationError(f"action {action['id']} ({current.get('type')}) errored")
        if current["status"] == "completed" or current.get("completed_at"):
            return current
        await poll.next(f"action {action['id']} ({current.get('type')}) to complete")


async def set_tags(call: Call, kind: str) -> None:
    """Take off the tags that are no longer wanted and put on the new ones."""
    old, new = call.state.get("tags") or [], call.inputs.get("tags") or []
    resources = {"resources": [{"resource_id": call.key, "resource_type": kind}]}
    for name in _missing(old, new):
        await call.api.delete(f"/v2/tags/{quote(name, safe='')}/resources", resources)
    for name in _missing(new, old):
        await call.api.post("/v2/tags", {"name": name})
        await call.api.post(f"/v2/tags/{quote(name, safe='')}/resources", resources)


def _missing(names: Iterable[str], among: Iterable[str]) -> list[str]:
    known = set(among)
    return [name for name in names if name not in known]
