"""Resources that are one object of one API collection: POST, GET, PUT, DELETE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sandbox.providers.call import Call, Created, OperationError, Poll
from sandbox.providers.http import ApiError
from sandbox.providers.schema import Operations
from sandbox.providers.values import Values

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Answers to a DELETE that only mean "not yet", and for how many seconds."""

    statuses: frozenset[int]
    seconds: float
    message: str = ""

    def match(self, error: ApiError) -> bool:
        return error.status in self.statuses and self.message in error.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection(Operations):
    """How a resource maps to its collection.

    `path` names inputs in braces; `envelope` is the key that holds the object in every answer.
    `verbs` begin the error texts of create, read, update and delete.
    `identify` gives the id, `body` the request of a creation, `outputs` the properties an answer tells.
    `reads_back`: whether a GET follows a create and an update, as DigitalOcean's plugin does and Cloudflare's not.
    `gone_is_deleted`: whether a 404 to the DELETE is a success. `gone_warning`: shown when a read finds nothing.
    """

    path: str
    envelope: str
    verbs: tuple[str, str, str, str]
    body: Callable[[Call], Document]
    outputs: Callable[[Document, Call], Values]
    identify: Callable[[Document], str]
    update_body: Callable[[Call], Document] | None = None
    update_method: str = "PUT"
    reads_back: bool = True
    gone_is_deleted: bool = False
    gone_warning: str = ""
    delete_retries: Retries | None = None

    async def create(self, call: Call) -> Created:
        document = await self._begin(call)
        key = self.identify(document)
        if self.reads_back:
            document = self._open(await self._try(1, call, "GET", self._item(call, key)))
        return Created(key, self.outputs(document, call))

    async def read(self, call: Call) -> Values | None:
        try:
            document = self._open(await call.api.get(self._item(call, call.key)))
        except ApiError as error:
            if error.status != 404:
                raise OperationError(f"{self.verbs[1]}{error}") from error
            if self.gone_warning:
                await call.warn(self.gone_warning)
            return None
        return self.outputs(document, call)

    async def update(self, call: Call) -> Values:
        item = self._item(call, call.key)
        if not call.changed and not self.reads_back:
            return {}
        document: Document = {}
        if call.changed:
            body = (self.update_body or self.body)(call)
            document = self._open(await self._try(2, call, self.update_method, item, body))
        if self.reads_back:
            document = self._open(await self._try(1, call, "GET", item))
        return self.outputs(document, call)

    async def delete(self, call: Call) -> None:
        item = self._item(call, call.key)
        retries = self.delete_retries
        poll = Poll(call.session, call.timeout or (retries.seconds if retries else 0))
        while True:
            try:
                await call.api.delete(item)
            except ApiError as error:
                if error.status == 404 and self.gone_is_deleted:
                    return
                if retries is None or not retries.match(error):
                    raise OperationError(f"{self.verbs[3]}{error}") from error
                await poll.next(str(error))
                continue
            return

    async def _begin(self, call: Call) -> Document:
        return self._open(await self._try(0, call, "POST", self._collection(call), self.body(call)))

    def _collection(self, call: Call) -> str:
        known = {**call.state, **call.inputs}
        return self.path.format_map({name: quote(str(value), safe="") for name, value in known.items()})

    def _item(self, call: Call, key: str) -> str:
        return f"{self._collection(call)}/{quote(key, safe='')}"

    def _open(self, answer: Any) -> Document:
        document = answer.get(self.envelope) if isinstance(answer, Mapping) else None
        if not isinstance(document, Mapping):
            raise OperationError(f"the answer has no {self.envelope!r} object: {answer!r}")
        return document

    async def _try(self, verb: int, call: Call, method: str, path: str, body: Document | None = None) -> Any:
        try:
            return await call.api.call(method, path, body=body)
        except ApiError as error:
            raise OperationError(f"{self.verbs[verb]}{error}") from error
