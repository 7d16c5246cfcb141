"""A cloud without machines and a client that calls its application in this process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from starlette.types import ASGIApp, Message

from sandbox.api.app import create_app
from sandbox.api.cloud import Cloud
from sandbox.api.server import make_server
from sandbox.api.settings import CloudSettings
from sandbox.machines.none import RecordMachines
from sandbox.network.none import RecordNetwork
from sandbox.store import Store
from tests.openapi import description

TOKEN = "dop_v1_" + "0a" * 32
CONTROL_TOKEN = "control"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM9yFv9qCAFUqPFXJJ4mp9I4iIyoZBLcU0CaVHH7aMM3 someone"


def settings(**changes: Any) -> CloudSettings:
    chosen: dict[str, Any] = {
        "token": TOKEN,
        "cloudflare_token": "c" * 40,
        "control_token": CONTROL_TOKEN,
        "public_network": IPv4Network("198.18.0.0/20"),
        "public_network6": IPv6Network("2001:db8:f100::/48"),
        "rate_limits": None,
        **changes,
    }
    return CloudSettings(**chosen)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: `body` is the parsed JSON, None when there was none."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content) if self.content else None

    @property
    def message(self) -> str:
        return str(self.body["message"])


async def asgi_request(
    app: ASGIApp, method: str, target: str, content: bytes, headers: Mapping[str, str]
) -> Reply:
    """One HTTP request to an ASGI application, without a server."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "server": ("api.test", 80),
    }
    incoming: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    start = sent[0]
    names = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], names, b"".join(message.get("body", b"") for message in sent[1:]))


@dataclass
class Api:
    """A running cloud and its application.

    Where DigitalOcean's OpenAPI description is at hand, every call is held against it.
    """

    cloud: Cloud
    app: ASGIApp
    token: str = TOKEN
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, target: str, body: Any = None, *, token: str | None = None) -> Reply:
        headers = {"host": "api.test", "authorization": f"Bearer {token or self.token}", **self.headers}
        content = b"" if body is None else json.dumps(body).encode()
        reply = await asgi_request(self.app, method, target, content, headers)
        if (judge := description()) is not None and target.startswith("/v2/"):
            judge.check(method, target, body, reply.status, reply.body)
        assert reply.status != 500, f"{method} {target} met a defect, see the log"
        return reply

    async def get(self, target: str) -> Any:
        reply = await self.call("GET", target)
        assert reply.status == 200, reply.content
        return reply.body

    async def made(self, target: str, body: Any) -> Any:
        """POST that must be accepted; the answer."""
        reply = await self.call("POST", target, body)
        assert reply.status in (201, 202), reply.content
        return reply.body

    async def refused(self, method: str, target: str, body: Any = None) -> Reply:
        """A call that must be refused, and must change nothing."""
        before = list(self.cloud.store._db.iterdump())
        reply = await self.call(method, target, body)
        assert reply.status >= 400, reply.content
        assert list(self.cloud.store._db.iterdump()) == before
        return reply

    async def droplet(self, name: str = "web-1", *, settle: bool = True, **fields: Any) -> dict[str, Any]:
        """A new droplet as the API shows it, active unless `settle` is false."""
        body = {"name": name, "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64", **fields}
        droplet: dict[str, Any] = (await self.made("/v2/droplets", body))["droplet"]
        if settle:
            await self.cloud.settled()
            droplet = (await self.get(f"/v2/droplets/{droplet['id']}"))["droplet"]
        return droplet

    async def cluster(self, name: str = "site", *, settle: bool = True, **fields: Any) -> dict[str, Any]:
        """A new database cluster as the API shows it, online unless `settle` is false."""
        body = {"name": name, "engine": "mysql", "region": "lon1", "size": "db-s-1vcpu-1gb", "num_nodes": 1}
        cluster: dict[str, Any] = (await self.made("/v2/databases", body | fields))["database"]
        if settle:
            await self.cloud.settled()
            cluster = (await self.get(f"/v2/databases/{cluster['id']}"))["database"]
        return cluster

    async def act(self, droplet: int, kind: str, **fields: Any) -> dict[str, Any]:
        """An action on a droplet, finished."""
        started = await self.made(f"/v2/droplets/{droplet}/actions", {"type": kind, **fields})
        await self.cloud.settled()
        done: dict[str, Any] = (await self.get(f"/v2/actions/{started['action']['id']}"))["action"]
        return done


async def started(store: Store, **changes: Any) -> Api:
    """A cloud over this store, started."""
    cloud = Cloud(store, RecordMachines(store), RecordNetwork(), settings(**changes))
    await cloud.start()
    return Api(cloud, create_app(cloud))


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """An application behind a real server on a free port; its address."""
    server = make_server(app, 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving
