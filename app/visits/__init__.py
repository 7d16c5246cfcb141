"""A page that says which member served it, and counts visits in the database."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from flask import Flask, Response, jsonify, render_template, request

from .counter import Counter
from .database import Database, DatabaseError, connect


@dataclass(frozen=True, slots=True)
class Member:
    """Who serves this page."""

    name: str
    release: str


def create_app(environ: Mapping[str, str] | None = None, database: Database | None = None) -> Flask:
    """The WSGI application. Its settings come from the environment, its database from there too unless given."""
    environ = os.environ if environ is None else environ
    site = Flask(__name__)
    member = Member(
        name=environ.get("FLOTILLA_MEMBER", socket.gethostname()),
        release=environ.get("FLOTILLA_RELEASE", "none"),
    )
    counter = Counter(database or connect(environ), member.name)

    @site.get("/")
    def page() -> Response:
        return _answer(
            {"member": member.name, "release": member.release, "visits": counter.visit()}, HTTPStatus.OK
        )

    @site.get("/livez")
    def alive() -> Response:
        """Asks nobody else: the database's troubles are not this member's."""
        return jsonify(alive=True)

    @site.get("/readyz")
    def ready() -> Response:
        counter.check()
        return jsonify(ready=True)

    @site.errorhandler(DatabaseError)
    def unavailable(error: DatabaseError) -> Response:
        site.logger.warning("the database does not answer: %s", error)
        facts: dict[str, object] = {
            "member": member.name,
            "release": member.release,
            "error": "The visit counter cannot be reached at the moment.",
        }
        answer = _answer(facts, HTTPStatus.SERVICE_UNAVAILABLE)
        answer.headers["Retry-After"] = "5"
        return answer

    return site


def _answer(facts: dict[str, object], status: HTTPStatus) -> Response:
    """The facts as a page for people, or as JSON for who asks for that."""
    wants_json = request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"
    answer = (
        jsonify(facts)
        if wants_json
        else Response(render_template("page.html", **facts), mimetype="text/html")
    )
    answer.status_code = status
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Vary"] = "Accept"
    return answer
