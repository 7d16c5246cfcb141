"""How a cluster's engine is set up: the settings of MySQL that decide which statements it takes."""

from __future__ import annotations

from typing import ClassVar

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint
from sandbox.api.digitalocean.databases import named, ready
from sandbox.api.errors import unprocessable
from sandbox.store import Document

# https://dev.mysql.com/doc/refman/8.0/en/sql-mode.html#sql-mode-full, without TIME_TRUNCATE_FRACTIONAL: MariaDB, which
# stands in for MySQL here, has none.
_MODES = frozenset(
    (
        *("ALLOW_INVALID_DATES", "ANSI", "ANSI_QUOTES", "ERROR_FOR_DIVISION_BY_ZERO", "HIGH_NOT_PRECEDENCE"),
        *("IGNORE_SPACE", "NO_AUTO_VALUE_ON_ZERO", "NO_BACKSLASH_ESCAPES", "NO_DIR_IN_CREATE"),
        *("NO_ENGINE_SUBSTITUTION", "NO_UNSIGNED_SUBTRACTION", "NO_ZERO_DATE", "NO_ZERO_IN_DATE"),
        *("ONLY_FULL_GROUP_BY", "PAD_CHAR_TO_FULL_LENGTH", "PIPES_AS_CONCAT", "REAL_AS_FLOAT"),
        *("STRICT_ALL_TABLES", "STRICT_TRANS_TABLES", "TRADITIONAL"),
    )
)


class SqlMode(Body):
    sql_mode: str


class Settings(Body):
    """Those that the sandbox has; any other is refused by name."""

    sql_mode: str | None = None
    sql_require_primary_key: bool | None = None


class Config(Body):
    accepts_null: ClassVar[frozenset[str] | None] = frozenset()

    config: Settings


def _of_mysql(cluster: Document) -> Document:
    if cluster["engine"] != "mysql":
        raise unprocessable("operation is not supported for this cluster type")
    return cluster


def _check_mode(text: str) -> str:
    unknown = [mode for mode in text.split(",") if text and mode not in _MODES]
    if unknown:
        raise unprocessable(f"sql_mode: {unknown[0]!r} is none of {', '.join(sorted(_MODES))}")
    return text


def _change(call: Call, cluster: Document, changes: Document) -> Answer:
    call.cloud.databases.change(cluster["id"], config={**cluster["config"], **changes})
    return NO_CONTENT


def show(call: Call) -> Answer:
    return Answer(200, {"config": named(call)["config"]})


def patch(call: Call) -> Answer:
    cluster, sent = _of_mysql(ready(call)), call.body(Config).config.sent()
    if "sql_mode" in sent:
        _check_mode(sent["sql_mode"])
    _change(call, cluster, sent)
    return Answer(200)


def show_mode(call: Call) -> Answer:
    return Answer(200, {"sql_mode": _of_mysql(named(call))["config"]["sql_mode"]})


def set_mode(call: Call) -> Answer:
    cluster, mode = _of_mysql(ready(call)), _check_mode(call.body(SqlMode).sql_mode)
    return _change(call, cluster, {"sql_mode": mode})


ENDPOINTS = (
    Endpoint("GET", "/v2/databases/{cluster}/config", show),
    Endpoint("PATCH", "/v2/databases/{cluster}/config", patch),
    Endpoint("GET", "/v2/databases/{cluster}/sql_mode", show_mode),
    Endpoint("PUT", "/v2/databases/{cluster}/sql_mode", set_mode),
)
