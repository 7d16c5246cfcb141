"""Database clusters as the API shows them."""

from __future__ import annotations

from urllib.parse import quote

from sandbox.api.call import Call
from sandbox.api.databases import host_names
from sandbox.api.databases_port import PORT
from sandbox.store import Document, Store

DEFAULT_DATABASE = "defaultdb"
# The scheme of an address, and the parameter that asks for TLS in it.
_ADDRESSES = {"mysql": ("mysql", "ssl-mode=REQUIRED"), "pg": ("postgresql", "sslmode=require")}


def view(call: Call, cluster: Document) -> Document:
    names = host_names(cluster)
    shown: Document = {
        "id": cluster["id"],
        "name": cluster["name"],
        "engine": cluster["engine"],
        "version": cluster["version"],
        "num_nodes": len(cluster["nodes"]),
        "size": cluster["size"],
        "region": cluster["region"],
        "status": cluster["status"],
        "created_at": cluster["created_at"],
        "private_network_uuid": cluster["vpc"],
        "tags": cluster["tags"],
        "db_names": cluster["db_names"],
        "users": [user_view(call, cluster, user) for user in cluster["users"]],
        "maintenance_window": {**cluster["maintenance"], "pending": False, "description": []},
        "project_id": _project(call.store, cluster),
        "storage_size_mib": cluster["storage_size_mib"],
        "connection": _connection(call, cluster, names["host"]),
        "private_connection": _connection(call, cluster, names["private_host"]),
    }
    if names["standby_host"]:
        shown["standby_connection"] = _connection(call, cluster, names["standby_host"])
        shown["standby_private_connection"] = _connection(call, cluster, names["private_standby_host"])
    return shown


def user_view(call: Call, cluster: Document, user: Document) -> Document:
    shown = {"name": user["name"], "role": user["role"]}
    if call.sees_credentials:
        shown["password"] = user["password"]
    if cluster["engine"] == "mysql":
        shown["mysql_settings"] = {"auth_plugin": user["plugin"]}
    return shown


def _connection(call: Call, cluster: Document, host: str) -> Document:
    administrator = cluster["users"][0]
    user = administrator["name"]
    password = administrator["password"] if call.sees_credentials else ""
    scheme, tls = _ADDRESSES[cluster["engine"]]
    return {
        "uri": f"{scheme}://{quote(user)}:{quote(password)}@{host}:{PORT}/{DEFAULT_DATABASE}?{tls}",
        "database": DEFAULT_DATABASE,
        "host": host,
        "port": PORT,
        "user": user,
        "password": password,
        "ssl": True,
    }


def _project(store: Store, cluster: Document) -> str:
    given = store.get("project_resource", urn(cluster))
    if given is not None:
        return str(given["project"])
    return next(str(project["id"]) for project in store.all("project") if project["is_default"])


def urn(cluster: Document) -> str:
    return f"do:dbaas:{cluster['id']}"
