"""SSH connections as `remote.Connection` describes them: pinned host key, retries, an optional bastion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sandbox.providers.call import Call, OperationError
from sandbox.providers.schema import INTEGER, NUMBER, Property, given, object_of, required

if TYPE_CHECKING:
    import asyncssh

_Connected = TypeVar("_Connected")

# Between dials: 0.1 s, each time half as much again, up to 5 s.
_FIRST_WAIT = 0.1
_GROWTH = 1.5
_LONGEST_WAIT = 5.0
_UNLIMITED = -1

# A machine that vanishes is noticed after as long as by the official plugin (the TCP keep-alive of Go's net package).
_ALIVE_SECONDS = 15
_ALIVE_TRIES = 9

_DEFAULT_DIALS = 10
_DEFAULT_SECONDS = 15


def _endpoint_properties() -> list[Property]:
    return [
        required("host"),
        given("user", default="root"),
        given("port", NUMBER, default=22),
        given("password", secret=True),
        given("privateKey", secret=True),
        given("privateKeyPassword", secret=True),
        given("agentSocketPath"),
        given("hostKey"),
        given("dialErrorLimit", INTEGER, default=_DEFAULT_DIALS),
        given("perDialTimeout", INTEGER, default=_DEFAULT_SECONDS),
    ]


CONNECTION = required(
    "connection",
    object_of(*_endpoint_properties(), given("proxy", object_of(*_endpoint_properties()))),
    secret=True,
)


@asynccontextmanager
async def dial(call: Call) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to the command's host, through its bastion if it has one; closed on leaving.

    Raises: OperationError when the last allowed dial failed.
    """
    target = {**call.state, **call.inputs}["connection"]
    options = await _options(call, target)
    proxy = target.get("proxy")
    if not proxy:
        async with _closing(
            await _retrying(call, "Dial", target, lambda: _connect(target, options))
        ) as found:
            yield found
        return
    bastion_options = await _options(call, proxy)
    try:
        bastion = await _retrying(call, "Dial proxy", proxy, lambda: _connect(proxy, bastion_options))
        async with _closing(bastion):
            through = {**options, "tunnel": bastion}
            inner = await _retrying(call, "Dial", target, lambda: _connect(target, through))
            async with _closing(inner):
                yield inner
    except OperationError as error:
        raise OperationError(f"proxy: {error}") from error


@asynccontextmanager
async def _closing(connection: asyncssh.SSHClientConnection) -> AsyncIterator[asyncssh.SSHClientConnection]:
    try:
        yield connection
    finally:
        connection.close()


async def _options(call: Call, endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """How to prove who we are and who the host is; nothing is taken from the user's own SSH setup."""
    import asyncssh

    key, password = endpoint.get("privateKey"), endpoint.get("password")
    seconds = endpoint.get("perDialTimeout", _DEFAULT_SECONDS)
    try:
        keys = [asyncssh.import_private_key(key, endpoint.get("privateKeyPassword"))] if key else None
        pinned = endpoint.get("hostKey")
        hosts: Any = None if pinned is None else ([asyncssh.import_public_key(pinned)], [], [])
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise OperationError(
            f"ssh: cannot parse a key of the connection to {endpoint['host']}: {error}"
        ) from error
    agent = None
    if not key and not password:
        agent = endpoint.get("agentSocketPath") or await call.session.environment("SSH_AUTH_SOCK")
    return {
        "username": endpoint.get("user", "root"),
        "password": password,
        "client_keys": keys,
        "agent_path": agent,
        "known_hosts": hosts,
        "connect_timeout": seconds or None,
        "login_timeout": seconds or None,
        "keepalive_interval": _ALIVE_SECONDS,
        "keepalive_count_max": _ALIVE_TRIES,
        "config": None,
    }


async def _connect(endpoint: Mapping[str, Any], options: Mapping[str, Any]) -> asyncssh.SSHClientConnection:
    import asyncssh

    host, port = endpoint["host"], int(endpoint.get("port", 22))
    try:
        return await asyncssh.connect(host, port, **options)
    except asyncssh.HostKeyNotVerifiable as error:
        raise OperationError("ssh: handshake failed: ssh: host key mismatch") from error
    except asyncssh.PermissionDenied as error:
        raise OperationError(f"ssh: handshake failed: ssh: unable to authenticate: {error.reason}") from error
    except asyncssh.Error as error:
        raise OperationError(f"ssh: handshake failed: {error.reason}") from error
    except TimeoutError as error:
        raise OperationError(f"dial tcp {host}:{port}: i/o timeout") from error
    except OSError as error:
        raise OperationError(f"dial tcp {host}:{port}: connect: {error.strerror or error}") from error


async def _retrying(
    call: Call, what: str, endpoint: Mapping[str, Any], connect: Callable[[], Awaitable[_Connected]]
) -> _Connected:
    limit = endpoint.get("dialErrorLimit", _DEFAULT_DIALS)
    failed, wait = 0, _FIRST_WAIT
    while True:
        try:
            return await connect()
        except OperationError as error:
            if limit > _UNLIMITED and failed >= limit:
                raise OperationError(f"after {failed} failed attempts: {error}") from error
        failed += 1
        shown = "inf" if limit == _UNLIMITED else limit
        message = f"{what} {failed}/{shown} failed: retrying"
        await asyncio.gather(
            call.session.log("info", message, call.urn, passing=True), call.session.pause(wait)
        )
        wait = min(_LONGEST_WAIT, wait * _GROWTH)
