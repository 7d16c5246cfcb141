"""Actions: what is under way, and what was done."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.api.call import Answer, Call, Endpoint, lists
from sandbox.api.cloud import Cloud
from sandbox.api.errors import not_found
from sandbox.store import Document


def view(cloud: Cloud, action: Document) -> Document:
    resource = action["resource"]
    return {
        "id": action["id"],
        "status": action["status"],
        "type": action["type"],
        "started_at": action["started_at"],
        "completed_at": action["completed_at"],
        # Volumes have no numeric id, and the API shows none for them.
        "resource_id": resource if isinstance(resource, int) else None,
        "resource_type": action["resource_type"],
        "region": cloud.catalog.region(action["region"]),
        "region_slug": action["region"],
    }


def answer(call: Call, status: int, action: Document) -> Answer:
    return Answer(status, {"action": view(call.cloud, action)})


def of_resource(call: Call, kind: str, resource: str | int) -> list[Document]:
    """The actions of one thing, newest first."""
    actions = reversed(call.store.all("action"))
    return [a for a in actions if a["resource_type"] == kind and a["resource"] == resource]


def one(call: Call, wanted: Callable[[Document], bool] = lambda _: True) -> Document:
    """The action the path names; 404 when there is none or it is another thing's."""
    action = call.store.get("action", call.number("action"))
    if action is None or not wanted(action):
        raise not_found()
    return action


def listing(call: Call, actions: list[Document]) -> Answer:
    return call.listing("actions", actions, lambda action: view(call.cloud, action))


def list_all(call: Call) -> Answer:
    return listing(call, list(reversed(call.store.all("action"))))


def show(call: Call) -> Answer:
    return answer(call, 200, one(call))


ENDPOINTS = (
    lists("/v2/actions", list_all),
    Endpoint("GET", "/v2/actions/{action}", show),
)
