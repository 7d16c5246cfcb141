"""DigitalOcean: what is in a managed database cluster, who may reach it, and its certificate authority."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from sandbox.providers.call import Call, Created, OperationError
from sandbox.providers.digitalocean.common import PREFIX, drop_empty, hidden, token
from sandbox.providers.http import ApiError
from sandbox.providers.rest import Collection
from sandbox.providers.schema import (
    Function,
    Naming,
    Operations,
    Resource,
    by_name,
    computed,
    given,
    list_of,
    object_of,
    required,
    set_of,
)
from sandbox.providers.validators import not_empty, one_of
from sandbox.providers.values import Values

Document = Mapping[str, Any]

_DEFAULT_PLUGIN = "caching_sha2_password"
# How the official client writes a time that is not set.
_NO_TIME = "0001-01-01T00:00:00Z"


class _Members(Collection):
    """What is named within a cluster; `kind` is the word between cluster and name in its id."""

    kind = ""

    async def create(self, call: Call) -> Created:
        document = await self._begin(call)
        if self.reads_back:
            await self._try(1, call, "GET", self._item(call, ""))
        key = f"{call.inputs['clusterId']}/{self.kind}/{document['name']}"
        return Created(key, self.outputs(document, call))

    async def read(self, call: Call) -> Values | None:
        if "clusterId" not in call.state:
            raise OperationError(f"{self.verbs[1]}importing is not supported by these providers")
        return await super().read(call)

    def _item(self, call: Call, key: str) -> str:
        name = {**call.state, **call.inputs}["name"]
        return f"{self._collection(call)}/{quote(str(name), safe='')}"


class _Users(_Members):
    kind = "user"

    async def update(self, call: Call) -> Values:
        item = self._item(call, call.key)
        if "mysqlAuthPlugin" in call.changed:
            plugin = call.inputs.get("mysqlAuthPlugin") or _DEFAULT_PLUGIN
            reset = {"mysql_settings": {"auth_plugin": plugin}}
            await self._change(call, "POST", f"{item}/reset_auth", reset, "mysql_auth_plugin")
        if "settings" in call.changed:
            settings = {"settings": _settings(call.inputs) or {}}
            await self._change(call, "PUT", item, settings, "settings")
        return self.outputs(self._open(await self._try(1, call, "GET", item)), call)

    async def _change(self, call: Call, method: str, path: str, body: Document, what: str) -> None:
        try:
            await call.api.call(method, path, body=body)
        except ApiError as error:
            raise OperationError(f"Error updating {what} for DatabaseUser: {error}") from error


class _Names(_Members):
    kind = "database"


def _settings(inputs: Values) -> Document | None:
    wanted = inputs.get("settings")
    if not wanted:
        return None
    acls = [{"topic": one["topic"], "permission": one["permission"]} for one in wanted[0].get("acls") or ()]
    indexes = [
        {"index": one["index"], "permission": one["permission"]}
        for one in wanted[0].get("opensearchAcls") or ()
    ]
    return drop_empty({"acl": acls, "opensearch_acl": indexes})


def _user_body(call: Call) -> Document:
    plugin = call.inputs.get("mysqlAuthPlugin")
    optional = {
        "mysql_settings": {"auth_plugin": plugin} if plugin else None,
        "settings": _settings(call.inputs),
    }
    return {"name": call.inputs["name"], **drop_empty(optional)}


def _user_outputs(document: Document, call: Call) -> Values:
    plugin = (document.get("mysql_settings") or {}).get("auth_plugin")
    return {
        "name": document["name"],
        "clusterId": {**call.state, **call.inputs}["clusterId"],
        "role": document.get("role") or "normal",
        "password": document.get("password") or call.state.get("password"),
        "mysqlAuthPlugin": plugin,
        "accessCert": document.get("access_cert"),
        "accessKey": document.get("access_key"),
    }


_PERMISSION = required("permission")
_ACL = object_of(required("topic", checks=[not_empty]), _PERMISSION, given("id", computed=True))
_INDEX_ACL = object_of(required("index", checks=[not_empty]), _PERMISSION)

DATABASE_USER = Resource(
    token=token("DatabaseUser"),
    naming=Naming(),
    records_failed_updates=True,
    properties=by_name(
        [
            given("name", replaces=True, checks=[not_empty]),
            required("clusterId", replaces=True, checks=[not_empty]),
            given(
                "mysqlAuthPlugin", computed=True, checks=[one_of("mysql_native_password", _DEFAULT_PLUGIN)]
            ),
            given(
                "settings",
                list_of(
                    object_of(given("acls", list_of(_ACL)), given("opensearchAcls", list_of(_INDEX_ACL)))
                ),
            ),
            computed("role"),
            *(hidden(name) for name in ("password", "accessCert", "accessKey")),
        ]
    ),
    operations=_Users(
        path="/v2/databases/{clusterId}/users",
        envelope="user",
        verbs=(
            "Error creating Database User: ",
            "Error retrieving Database User: ",
            "Error updating Database User: ",
            "Error deleting Database User: ",
        ),
        reads_back=False,
        identify=lambda document: str(document["name"]),
        body=_user_body,
        outputs=_user_outputs,
    ),
)

DATABASE_DB = Resource(
    token=token("DatabaseDb"),
    naming=Naming(),
    records_failed_updates=True,
    properties=by_name(
        [
            given("name", replaces=True, checks=[not_empty]),
            required("clusterId", replaces=True, checks=[not_empty]),
        ]
    ),
    operations=_Names(
        path="/v2/databases/{clusterId}/dbs",
        envelope="db",
        verbs=(
            "Error creating Database DB: ",
            "Error retrieving Database DB: ",
            "",
            "Error deleting Database DB: ",
        ),
        identify=lambda document: str(document["name"]),
        body=lambda call: {"name": call.inputs["name"]},
        outputs=lambda document, _call: {"name": document["name"]},
    ),
)


# Trusted sources


class _Firewalls(Operations):
    """A cluster has one list of trusted sources, always written as a whole; it has no id of its own."""

    async def create(self, call: Call) -> Created:
        await self._write(call, call.inputs["rules"], "creating")
        outputs = await self.read(call)
        if outputs is None:
            raise OperationError(f"database cluster {call.inputs['clusterId']} vanished")
        stamp = f"{time.strftime('%Y%m%d%H%M%S')}{time.time_ns() % 10**9:09d}"
        return Created(f"{call.inputs['clusterId']}-{stamp}", outputs)

    async def read(self, call: Call) -> Values | None:
        known = {**call.state, **call.inputs}
        if "clusterId" not in known:
            # An import names the cluster.
            known["clusterId"] = call.key
        try:
            rules = (await call.api.get(_firewall(known)))["rules"]
        except ApiError as error:
            if error.status == 404:
                return None
            raise OperationError(f"Error retrieving DatabaseFirewall: {error}") from error
        shown = [
            {
                "type": rule["type"],
                "value": rule["value"],
                "uuid": rule["uuid"],
                "createdAt": rule["created_at"],
            }
            for rule in rules or ()
        ]
        return {"clusterId": known["clusterId"], "rules": shown}

    async def update(self, call: Call) -> Values:
        await self._write(call, call.inputs["rules"], "updating")
        outputs = await self.read(call)
        if outputs is None:
            raise OperationError(f"database cluster {call.inputs['clusterId']} not found during update")
        return outputs

    async def delete(self, call: Call) -> None:
        """Nobody is kept away any more."""
        await self._write(call, [], "deleting")

    async def _write(self, call: Call, rules: Iterable[Document], doing: str) -> None:
        known = {(rule["type"], rule["value"]): rule.get("uuid") for rule in call.state.get("rules") or ()}
        sent = [
            {
                "uuid": known.get((rule["type"], rule["value"])) or "",
                "cluster_uuid": "",
                "type": rule["type"],
                "value": rule["value"],
                "created_at": _NO_TIME,
            }
            for rule in rules
        ]
        try:
            await call.api.put(_firewall({**call.state, **call.inputs}), {"rules": sent})
        except ApiError as error:
            raise OperationError(f"Error {doing} DatabaseFirewall: {error}") from error


def _firewall(known: Values) -> str:
    return f"/v2/databases/{quote(str(known['clusterId']), safe='')}/firewall"


_RULE = object_of(
    required("type", checks=[one_of("ip_addr", "droplet", "k8s", "tag", "app")]),
    required("value", checks=[not_empty]),
    given("uuid", computed=True),
    given("createdAt", computed=True),
)

DATABASE_FIREWALL = Resource(
    token=token("DatabaseFirewall"),
    records_failed_updates=True,
    operations=_Firewalls(),
    properties=by_name(
        [
            required("clusterId", replaces=True, checks=[not_empty]),
            required("rules", set_of(_RULE)),
        ]
    ),
)

RESOURCES = (DATABASE_USER, DATABASE_DB, DATABASE_FIREWALL)


# Lookups


async def _get_authority(call: Call) -> Values:
    key = call.inputs["clusterId"]
    try:
        answer = await call.api.get(f"/v2/databases/{quote(str(key), safe='')}/ca")
    except ApiError as error:
        raise OperationError(f"Error retrieving database CA certificate: {error}") from error
    certificate = base64.b64decode(answer["ca"]["certificate"]).decode()
    return {"id": key, "clusterId": key, "certificate": certificate}


FUNCTIONS = (
    Function(
        token=f"{PREFIX}/getDatabaseCa:getDatabaseCa",
        arguments=by_name([required("clusterId", checks=[not_empty])]),
        call=_get_authority,
    ),
)
