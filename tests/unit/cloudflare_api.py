"""A client of the sandbox's Cloudflare API, in process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette

from sandbox.cloudflare import routes
from sandbox.store import Store

TOKEN = "t0ken_" + "x" * 34


OWN_NETWORK = IPv4Network("127.64.16.0/20")


@dataclass(frozen=True)
class Settings:
    cloudflare_token: str = TOKEN
    public_network: IPv4Network = OWN_NETWORK


@dataclass
class Reply:
    status: int
    body: dict[str, Any]

    @property
    def result(self) -> Any:
        assert self.body["success"] is True, self.body
        return self.body["result"]

    @property
    def code(self) -> int:
        assert self.body["success"] is False
        assert self.body["result"] is None
        error: dict[str, Any] = self.body["errors"][0]
        assert error["message"]
        return int(error["code"])


class Api:
    """A client of one API, in process; `changes` are the kinds of documents that changed, commit by commit."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.changes: list[frozenset[str]] = []
        store.watch(self.changes.append)
        self.zone = ""
        self.now = 1_000.0  # seconds since the epoch, as the API sees them
        self._application = Starlette(routes=routes(store, Settings(), now=lambda: self.now))

    async def call(
        self, method: str, path: str, body: object = None, *, token: str | None = TOKEN, **query: object
    ) -> Reply:
        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        parameters = {name.replace("__", "."): str(value) for name, value in query.items()}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "path": f"/client/v4{path}",
            "raw_path": f"/client/v4{path}".encode(),
            "query_string": urlencode(parameters).encode(),
            "headers": headers,
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._application(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent)
        return Reply(sent[0]["status"], json.loads(content))

    async def records(self, method: str, body: object = None, record: str = "", **query: Any) -> Reply:
        suffix = f"/{record}" if record else ""
        return await self.call(method, f"/zones/{self.zone}/dns_records{suffix}", body, **query)

    async def add(self, **fields: object) -> dict[str, Any]:
        fields = {"type": "A", "name": "www", "content": "198.18.0.10", "ttl": 300} | fields
        record: dict[str, Any] = (await self.records("POST", fields)).result
        return record
