"""What is inside a database cluster: users, databases, and who may reach it."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.digitalocean.database_rules import Rules, stored
from sandbox.api.digitalocean.database_view import DEFAULT_DATABASE, user_view
from sandbox.api.digitalocean.databases import DEFAULT_PLUGIN, account, named, ready
from sandbox.api.errors import not_found, unprocessable
from sandbox.store import Document

# https://dev.mysql.com/doc/refman/8.0/en/identifier-length.html and
# https://www.postgresql.org/docs/current/limits.html (identifier length), in characters
_LONGEST_USER = {"mysql": 32, "pg": 63}
_LONGEST_DATABASE = {"mysql": 64, "pg": 63}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class MysqlSettings(Body):
    auth_plugin: Literal["mysql_native_password", "caching_sha2_password"]


class UserSettings(Body):
    """Only what PostgreSQL knows; replication rights are not given in the sandbox."""

    pg_allow_replication: Literal[False] = False


class NewUser(Body):
    name: str
    mysql_settings: MysqlSettings | None = None
    settings: UserSettings | None = None
    readonly: Literal[False] = False


class ResetAuth(Body):
    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"mysql_settings"})

    mysql_settings: MysqlSettings | None = None


class NewDatabase(Body):
    name: str
    # Sent by clients that send whole objects.
    id: Any = None


def _check_name(cluster: Document, name: str, longest: dict[str, int]) -> None:
    most = longest[cluster["engine"]]
    if _NAME.fullmatch(name) is None or len(name) > most:
        raise unprocessable(
            f"name: {name!r} must hold 1 to {most} letters, digits, dots, dashes and underscores, "
            "a letter, digit or underscore first"
        )


def list_users(call: Call) -> Answer:
    cluster = named(call)
    return call.listing("users", cluster["users"], lambda user: user_view(call, cluster, user))


def _user(call: Call, cluster: Document) -> Document:
    for user in cluster["users"]:
        if user["name"] == call.path["user"]:
            found: Document = user
            return found
    raise not_found()


def show_user(call: Call) -> Answer:
    cluster = named(call)
    return Answer(200, {"user": user_view(call, cluster, _user(call, cluster))})


def create_user(call: Call) -> Answer:
    cluster, body = ready(call), call.body(NewUser)
    _check_name(cluster, body.name, _LONGEST_USER)
    if any(user["name"] == body.name for user in cluster["users"]):
        raise unprocessable("user name is not available")
    plugin = _plugin(cluster, body.mysql_settings, DEFAULT_PLUGIN)
    user = account(body.name, "normal", plugin)
    call.cloud.databases.change(cluster["id"], users=[*cluster["users"], user])
    return Answer(201, {"user": user_view(call, cluster, user)})


def _plugin(cluster: Document, settings: MysqlSettings | None, unset: str) -> str:
    if cluster["engine"] == "mysql":
        return unset if settings is None else settings.auth_plugin
    if settings is not None:
        raise unprocessable("mysql_settings: this cluster's engine is not mysql")
    return ""


def reset_auth(call: Call) -> Answer:
    """A new password, and another way to check it if asked for."""
    cluster, body = ready(call), call.body(ResetAuth)
    old = _user(call, cluster)
    new = account(old["name"], old["role"], _plugin(cluster, body.mysql_settings, old["plugin"]))
    users = [new if user["name"] == new["name"] else user for user in cluster["users"]]
    call.cloud.databases.change(cluster["id"], users=users)
    return Answer(200, {"user": user_view(call, cluster, new)})


def delete_user(call: Call) -> Answer:
    cluster = ready(call)
    gone = _user(call, cluster)
    if gone["role"] == "primary":
        raise unprocessable(f"the default user {gone['name']} cannot be deleted")
    left = [user for user in cluster["users"] if user["name"] != gone["name"]]
    call.cloud.databases.change(cluster["id"], users=left)
    return NO_CONTENT


def list_databases(call: Call) -> Answer:
    return call.listing("dbs", [{"name": name} for name in named(call)["db_names"]])


def _database(call: Call, cluster: Document) -> str:
    name = call.path["db"]
    if name not in cluster["db_names"]:
        raise not_found()
    return name


def show_database(call: Call) -> Answer:
    return Answer(200, {"db": {"name": _database(call, named(call))}})


def create_database(call: Call) -> Answer:
    cluster, body = ready(call), call.body(NewDatabase)
    _check_name(cluster, body.name, _LONGEST_DATABASE)
    if body.name in cluster["db_names"]:
        raise unprocessable("database name is not available")
    call.cloud.databases.change(cluster["id"], db_names=[*cluster["db_names"], body.name])
    return Answer(201, {"db": {"name": body.name}})


def delete_database(call: Call) -> Answer:
    cluster = ready(call)
    gone = _database(call, cluster)
    if gone == DEFAULT_DATABASE:
        raise unprocessable(f"the default database {gone} cannot be deleted")
    left = [name for name in cluster["db_names"] if name != gone]
    call.cloud.databases.change(cluster["id"], db_names=left)
    return NO_CONTENT


def list_rules(call: Call) -> Answer:
    return Answer(200, {"rules": named(call)["rules"]})


def replace_rules(call: Call) -> Answer:
    """The whole list at once; an empty one opens the cluster to everybody."""
    cluster, body = ready(call), call.body(Rules)
    rules = stored(call.cloud, cluster["id"], body.rules, cluster["rules"])
    call.cloud.change("database", cluster["id"], rules=rules)
    call.cloud.fabric.changed()
    return NO_CONTENT


ENDPOINTS = (
    lists("/v2/databases/{cluster}/users", list_users),
    Endpoint("POST", "/v2/databases/{cluster}/users", create_user),
    Endpoint("GET", "/v2/databases/{cluster}/users/{user}", show_user),
    Endpoint("DELETE", "/v2/databases/{cluster}/users/{user}", delete_user),
    Endpoint("POST", "/v2/databases/{cluster}/users/{user}/reset_auth", reset_auth),
    lists("/v2/databases/{cluster}/dbs", list_databases),
    Endpoint("POST", "/v2/databases/{cluster}/dbs", create_database),
    Endpoint("GET", "/v2/databases/{cluster}/dbs/{db}", show_database),
    Endpoint("DELETE", "/v2/databases/{cluster}/dbs/{db}", delete_database),
    Endpoint("GET", "/v2/databases/{cluster}/firewall", list_rules),
    Endpoint("PUT", "/v2/databases/{cluster}/firewall", replace_rules),
)
