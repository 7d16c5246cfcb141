"""DigitalOcean: projects, and which resources belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sandbox.providers.call import Call, Created, OperationError, Poll
from sandbox.providers.digitalocean.common import pages, token
from sandbox.providers.http import ApiError
from sandbox.providers.schema import (
    BOOLEAN,
    INTEGER,
    STRING,
    Naming,
    Operations,
    Resource,
    by_name,
    computed,
    given,
    required,
    set_of,
)
from sandbox.providers.validators import length_between, not_empty, one_of
from sandbox.providers.values import Values

Document = Mapping[str, Any]

_DELETE_LIMIT = 180.0


async def _members(call: Call, project: str) -> list[str]:
    return [item["urn"] async for item in pages(call, f"/v2/projects/{project}/resources", "resources")]


async def _assign(call: Call, project: str, urns: Iterable[str]) -> None:
    try:
        await call.api.post(f"/v2/projects/{project}/resources", {"resources": list(urns)})
    except ApiError as error:
        raise OperationError(f"Error assigning resources: {error}") from error


async def _assign_to_default(call: Call, urns: Iterable[str]) -> None:
    """What leaves a project goes to the default one: nothing may be without."""
    try:
        default = (await call.api.get("/v2/projects/default"))["project"]
    except ApiError as error:
        raise OperationError(f"Error locating default project {error}") from error
    await _assign(call, default["id"], urns)


async def _change_members(call: Call, project: str) -> None:
    old, new = call.state.get("resources") or [], call.inputs.get("resources") or []
    if gone := [urn for urn in old if urn not in new]:
        await _assign_to_default(call, gone)
    if added := [urn for urn in new if urn not in old]:
        await _assign(call, project, added)


class _Projects(Operations):
    async def create(self, call: Call) -> Created:
        inputs = call.inputs
        body = {
            "name": inputs["name"],
            "purpose": inputs["purpose"],
            "description": inputs.get("description", ""),
        }
        if inputs.get("environment"):
            body["environment"] = inputs["environment"]
        try:
            project = (await call.api.post("/v2/projects", body))["project"]
            key = str(project["id"])
            if inputs.get("resources"):
                await _assign(call, key, inputs["resources"])
            if inputs.get("isDefault"):
                await call.api.call("PATCH", f"/v2/projects/{key}", body={**body, "is_default": True})
        except ApiError as error:
            raise OperationError(f"Error creating Project: {error}") from error
        return Created(key, await self._outputs(replace(call, key=key)))

    async def read(self, call: Call) -> Values | None:
        try:
            return await self._outputs(call)
        except ApiError as error:
            if error.status == 404:
                return None
            raise OperationError(f"Error reading Project: {error}") from error

    async def update(self, call: Call) -> Values:
        inputs = call.inputs
        if call.changed:
            body = {
                "name": inputs["name"],
                "description": inputs.get("description", ""),
                "purpose": inputs["purpose"],
                "environment": inputs.get("environment", ""),
                "is_default": bool(inputs.get("isDefault")),
            }
            try:
                await call.api.call("PATCH", f"/v2/projects/{call.key}", body=body)
            except ApiError as error:
                raise OperationError(f"Error updating Project: {error}") from error
        if "resources" in call.changed:
            await _change_members(call, call.key)
        return await self._outputs(call)

    async def delete(self, call: Call) -> None:
        if call.state.get("resources"):
            await _assign_to_default(call, call.state["resources"])
        poll = Poll(call.session, call.timeout or _DELETE_LIMIT)
        while True:
            try:
                await call.api.delete(f"/v2/projects/{call.key}")
            except ApiError as error:
                if error.status != 412 or "cannot delete a project with resources" not in error.body:
                    raise OperationError(f"Error deleting project ({call.key}): {error}") from error
                await poll.next(f"project {call.key} to be empty")
                continue
            return

    async def _outputs(self, call: Call) -> Values:
        project = (await call.api.get(f"/v2/projects/{call.key}"))["project"]
        return {
            "name": project["name"],
            "purpose": str(project.get("purpose") or "").removeprefix("Other: "),
            "description": project.get("description") or "",
            "environment": project.get("environment") or "",
            "isDefault": bool(project.get("is_default")),
            "ownerUuid": project.get("owner_uuid"),
            "ownerId": project.get("owner_id"),
            "createdAt": project.get("created_at"),
            "updatedAt": project.get("updated_at"),
            "resources": await _members(call, call.key),
        }


class _ProjectResources(Operations):
    async def create(self, call: Call) -> Created:
        project = call.inputs["project"]
        await self._require(call, project)
        await _change_members(call, project)
        outputs = await self.read(replace(call, key=project, state=call.inputs))
        if outputs is None:
            raise OperationError(f"Error while retrieving project {project}: it vanished meanwhile")
        return Created(project, outputs)

    async def read(self, call: Call) -> Values | None:
        try:
            await call.api.get(f"/v2/projects/{call.key}")
            members = await _members(call, call.key)
        except ApiError as error:
            if error.status == 404:
                return None
            raise OperationError(f"Error while retrieving project: {error}") from error
        wanted = call.state.get("resources") or []
        return {"project": call.key, "resources": [urn for urn in wanted if urn in members]}

    async def update(self, call: Call) -> Values:
        await self._require(call, call.key)
        if "resources" in call.changed:
            await _change_members(call, call.key)
        outputs = await self.read(replace(call, state=call.inputs))
        if outputs is None:
            raise OperationError(f"Error while retrieving project {call.key}: it vanished meanwhile")
        return outputs

    async def delete(self, call: Call) -> None:
        try:
            await call.api.get(f"/v2/projects/{call.key}")
        except ApiError as error:
            if error.status == 404:
                return
            raise OperationError(f"Error while retrieving project: {error}") from error
        if call.state.get("resources"):
            await _assign_to_default(call, call.state["resources"])

    async def _require(self, call: Call, project: str) -> None:
        try:
            await call.api.get(f"/v2/projects/{project}")
        except ApiError as error:
            raise OperationError(f"Error while retrieving project {project}: {error}") from error


PROJECT = Resource(
    token=token("Project"),
    naming=Naming(limit=175),
    records_failed_updates=True,
    operations=_Projects(),
    properties=by_name(
        [
            given("name", checks=[not_empty, length_between(1, 175)]),
            given("description", default="", checks=[length_between(0, 255)]),
            given("purpose", default="Web Application", checks=[length_between(0, 255)]),
            given(
                "environment",
                checks=[one_of("development", "staging", "production", ignore_case=True)],
                same=lambda old, new, _inputs: str(old or "").lower() == str(new or "").lower(),
            ),
            given("isDefault", BOOLEAN, default=False),
            given("resources", set_of(STRING), computed=True),
            computed("ownerUuid"),
            computed("ownerId", INTEGER),
            computed("createdAt"),
            computed("updatedAt"),
        ]
    ),
)

PROJECT_RESOURCES = Resource(
    token=token("ProjectResources"),
    records_failed_updates=True,
    operations=_ProjectResources(),
    properties=by_name(
        [required("project", replaces=True, checks=[not_empty]), required("resources", set_of(STRING))]
    ),
)

RESOURCES = (PROJECT, PROJECT_RESOURCES)
