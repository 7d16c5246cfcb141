"""Many short HTTP questions at once, with one deadline for all and little memory."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_LARGEST: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Question:
    """GET `path` from a server: a host and port, or the path of a Unix socket."""

    server: tuple[str, int] | str
    path: str
    host: str = "localhost"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a question. Without a status, `fault` tells why; `late` when it was only a matter of time."""

    status: int = 0
    headers: Mapping[str, str] | None = None  # names in lower case
    body: bytes = b""
    fault: str = ""
    late: bool = False


@dataclass(slots=True)
class _Exchange:
    name: str
    plain: socket.socket
    to_send: bytes
    received: bytes = b""


def ask(questions: Mapping[str, Question], timeout: float) -> dict[str, Reply]:
    """The reply to each question, by name; it takes `timeout` seconds at most."""
    replies: dict[str, Reply] = {}
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        try:
            for name, question in questions.items():
                fault = _dial(selector, name, question)
                if fault is not None:
                    replies[name] = fault
            while len(replies) < len(questions) and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    _advance(selector, key.data, replies)
        finally:
            for exchange in [key.data for key in selector.get_map().values()]:
                _close(selector, exchange)
    late = Reply(fault=f"no answer within {timeout:g} s", late=True)
    return {name: replies.get(name, late) for name in questions}


def _dial(selector: selectors.BaseSelector, name: str, question: Question) -> Reply | None:
    if isinstance(question.server, str):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in question.server[0] else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    code = plain.connect_ex(question.server)
    if code == errno.EAGAIN:  # a Unix socket whose queue is full
        plain.close()
        return Reply(fault="its queue is full", late=True)
    if code not in (0, errno.EINPROGRESS):
        plain.close()
        return Reply(fault=os.strerror(code))
    request = f"GET {question.path} HTTP/1.0\r\nHost: {question.host}\r\nX-Forwarded-Proto: https\r\n\r\n"
    selector.register(plain, selectors.EVENT_WRITE, _Exchange(name, plain, request.encode()))
    return None


def _advance(selector: selectors.BaseSelector, exchange: _Exchange, replies: dict[str, Reply]) -> None:
    plain = exchange.plain
    try:
        if exchange.to_send:
            exchange.to_send = exchange.to_send[plain.send(exchange.to_send) :]
            if not exchange.to_send:
                selector.modify(plain, selectors.EVENT_READ, exchange)
            return
        chunk = plain.recv(_LARGEST)
        exchange.received += chunk
        if chunk and len(exchange.received) < _LARGEST:
            return
        replies[exchange.name] = _parse(exchange.received)
    except BlockingIOError:
        return
    except OSError as error:
        replies[exchange.name] = Reply(fault=os.strerror(error.errno or 0))
    _close(selector, exchange)


def _close(selector: selectors.BaseSelector, exchange: _Exchange) -> None:
    selector.unregister(exchange.plain)
    exchange.plain.close()


def _parse(received: bytes) -> Reply:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        return Reply(
            fault="the connection was closed without an answer" if not received else "no HTTP answer"
        )
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Reply(status=int(words[1]), headers=headers, body=body)
