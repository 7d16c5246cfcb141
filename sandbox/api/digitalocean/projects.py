"""Projects: groups of resources by URN; what no project was given is the default project's."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.errors import bad_request, conflict, not_found, precondition_failed
from sandbox.api.furnish import new_project
from sandbox.store import Document, Store

Environment = Literal["", "Development", "Staging", "Production"]

# What can be in a project: the URN's word, the store's kind, the path of its address.
_KINDS = {
    "droplet": ("droplet", "/v2/droplets"),
    "domain": ("domain", "/v2/domains"),
    "volume": ("volume", "/v2/volumes"),
    "dbaas": ("database", "/v2/databases"),
}


class ReadOnly(Body):
    """What only the API writes, accepted and ignored, as clients send whole objects back."""

    id: Any = None
    owner_uuid: Any = None
    owner_id: Any = None
    created_at: Any = None
    updated_at: Any = None


class NewProject(ReadOnly):
    name: str = Field(min_length=1, max_length=175)
    purpose: str = Field(min_length=1, max_length=255)
    description: str = Field(default="", max_length=255)
    environment: Environment | None = None


class ProjectReplacement(ReadOnly):
    name: str = Field(min_length=1, max_length=175)
    description: str = Field(max_length=255)
    purpose: str = Field(min_length=1, max_length=255)
    environment: Environment
    is_default: bool


class ProjectChange(ReadOnly):
    name: str | None = Field(default=None, min_length=1, max_length=175)
    description: str | None = Field(default=None, max_length=255)
    purpose: str | None = Field(default=None, min_length=1, max_length=255)
    environment: Environment | None = None
    is_default: bool | None = None


class Assignment(Body):
    resources: list[str]


_READ_ONLY = frozenset(ReadOnly.model_fields)


def default_of(store: Store) -> Document:
    return next(project for project in store.all("project") if project["is_default"])


def _named(call: Call) -> Document:
    key = call.path.get("project")
    project = default_of(call.store) if key is None else call.store.get("project", key)
    if project is None:
        raise not_found()
    return project


def list_all(call: Call) -> Answer:
    return call.listing("projects", call.store.all("project"))


def create(call: Call) -> Answer:
    body = call.body(NewProject)
    _unique(call.store, body.name)
    project = new_project(
        call.store,
        call.cloud.stamp(),
        name=body.name,
        description=body.description,
        purpose=body.purpose,
        environment=body.environment,
    )
    call.store.put("project", project["id"], project)
    return Answer(201, {"project": project})


def _unique(store: Store, name: str, but: str = "") -> None:
    if any(project["name"] == name and project["id"] != but for project in store.all("project")):
        raise conflict("name is already in use")


def show(call: Call) -> Answer:
    return Answer(200, {"project": _named(call)})


def replace(call: Call) -> Answer:
    return _change(call, call.body(ProjectReplacement).sent())


def patch(call: Call) -> Answer:
    return _change(call, call.body(ProjectChange).sent())


def _change(call: Call, sent: Document) -> Answer:
    project = _named(call)
    changes = {name: value for name, value in sent.items() if name not in _READ_ONLY and value is not None}
    if "name" in changes:
        _unique(call.store, changes["name"], but=project["id"])
    if changes.pop("is_default", False) and not project["is_default"]:
        former = default_of(call.store)
        # What was the former default's without saying so stays there.
        for urn in _urns(call.store, former):
            _assign(call, former, urn)
        call.store.put("project", former["id"], {**former, "is_default": False})
        changes["is_default"] = True
    changed = {**project, **changes, "updated_at": call.cloud.stamp()}
    if not changed.get("environment", True):
        del changed["environment"]
    call.store.put("project", project["id"], changed)
    return Answer(200, {"project": changed})


def delete(call: Call) -> Answer:
    project = _named(call)
    if project["is_default"]:
        raise precondition_failed("cannot delete the default project")
    if _urns(call.store, project):
        raise precondition_failed(
            "cannot delete a project with resources. move or remove the resources first"
        )
    call.store.delete("project", project["id"])
    return NO_CONTENT


def _everything(store: Store) -> dict[str, Document]:
    """Every resource that can be in a project, by URN."""
    found: dict[str, Document] = {}
    for word, (kind, _) in _KINDS.items():
        for document in store.all(kind):
            found[f"do:{word}:{document['name'] if kind == 'domain' else document['id']}"] = document
    return found


def _urns(store: Store, project: Document) -> list[str]:
    fallback = default_of(store)["id"]

    def owner(urn: str) -> str:
        return str((store.get("project_resource", urn) or {"project": fallback})["project"])

    return [urn for urn in _everything(store) if owner(urn) == project["id"]]


def list_resources(call: Call) -> Answer:
    urns = [{"urn": urn} for urn in _urns(call.store, _named(call))]
    known = _everything(call.store)

    def shown(entry: Document) -> Document:
        given = call.store.get("project_resource", entry["urn"]) or {}
        # A domain says nothing of its birth; the rest is there since it was made.
        since = given.get("assigned_at") or known[entry["urn"]].get("created_at") or call.cloud.stamp()
        return _resource(call, entry["urn"], since, "ok")

    return call.listing("resources", urns, shown)


def _resource(call: Call, urn: str, assigned_at: str | None, status: str) -> Document:
    """One entry of an answer; `assigned_at` is None for what could not be assigned."""
    _, word, name = urn.split(":", 2)
    link = f"{call.origin}{_KINDS[word][1]}/{name}"
    since = {} if assigned_at is None else {"assigned_at": assigned_at}
    return {"urn": urn, **since, "links": {"self": link}, "status": status}


def assign(call: Call) -> Answer:
    project, body = _named(call), call.body(Assignment)
    known = _everything(call.store)
    for urn in body.resources:
        _check_form(urn)
    held = set(_urns(call.store, project))
    now = call.cloud.stamp()
    answers = []
    for urn in body.resources:
        if urn not in known:
            answers.append(_resource(call, urn, None, "not_found"))
            continue
        answers.append(_resource(call, urn, now, "already_assigned" if urn in held else "assigned"))
        _assign(call, project, urn)
    return Answer(200, {"resources": answers})


def _check_form(urn: str) -> None:
    parts = urn.split(":", 2)
    if len(parts) != len(("do", "kind", "name")) or parts[0] != "do" or parts[1] not in _KINDS:
        raise bad_request(f"{urn!r} is no URN of a resource that projects of the sandbox can hold")


def _assign(call: Call, project: Document, urn: str) -> None:
    given = {"project": project["id"], "assigned_at": call.cloud.stamp()}
    call.store.put("project_resource", urn, given)


ENDPOINTS = (
    lists("/v2/projects", list_all),
    Endpoint("POST", "/v2/projects", create),
    Endpoint("GET", "/v2/projects/default", show),
    Endpoint("PUT", "/v2/projects/default", replace),
    Endpoint("PATCH", "/v2/projects/default", patch),
    lists("/v2/projects/default/resources", list_resources),
    Endpoint("POST", "/v2/projects/default/resources", assign),
    Endpoint("GET", "/v2/projects/{project}", show),
    Endpoint("PUT", "/v2/projects/{project}", replace),
    Endpoint("PATCH", "/v2/projects/{project}", patch),
    Endpoint("DELETE", "/v2/projects/{project}", delete),
    lists("/v2/projects/{project}/resources", list_resources),
    Endpoint("POST", "/v2/projects/{project}/resources", assign),
)
