"""Putting a report on its pull request: against a GitHub of our own, with artifacts of the worst kind."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from review import post
from review.report import Change, Report, StackReport

HEAD = "a" * 40
REPORT = Report(
    (StackReport("dev", (Change("create", "digitalocean:index/droplet:Droplet", "web-2"),)),), "b" * 40
)


@dataclass
class FakeGitHub:
    """The few routes that are used, with the pull requests and comments that a test puts there."""

    url: str = ""
    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, target: str, body: Any) -> Any:
        self.asked.append(f"{method} {target}")
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        first = (int(query.get("page", ["1"])[0]) - 1) * 100
        match method, path:
            case "GET", "/repos/us/site/pulls":
                return self.pulls[first : first + 100]
            case "GET", "/repos/us/site/issues/7/comments":
                return self.comments[first : first + 100]
            case "POST", "/repos/us/site/issues/7/comments":
                self.add("github-actions[bot]", body["body"])
                return self.comments[-1]
        number = int(re.fullmatch(r"/repos/us/site/issues/comments/(\d+)", path)[1])  # type: ignore[index]
        assert method == "PATCH"
        self.comments[number]["body"] = body["body"]
        return self.comments[number]

    def add(self, login: str, body: str) -> None:
        self.comments.append({"id": len(self.comments), "user": {"login": login}, "body": body})


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    fake = FakeGitHub(pulls=[pull()])

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            content = json.dumps(fake.answer(self.command, self.path, body)).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - so named by the base class

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fake.url = f"http://127.0.0.1:{server.server_port}"
        yield fake
        server.shutdown()


def pull(number: int = 7, sha: str = HEAD, head: str = "them/site", base: str = "us/site") -> dict[str, Any]:
    return {
        "number": number,
        "head": {"sha": sha, "repo": {"full_name": head}},
        "base": {"repo": {"full_name": base}},
    }


def event(**changes: Any) -> dict[str, Any]:
    run = {
        "event": "pull_request",
        "name": "preview",
        "head_sha": HEAD,
        "head_branch": "feature/ü&x=1",
        "head_repository": {"full_name": "them/site", "owner": {"login": "them"}},
    }
    return {"repository": {"full_name": "us/site"}, "workflow_run": run | changes}


def zipped(content: bytes, name: str = "preview.json") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@dataclass
class Desk:
    """What the workflow does."""

    github: FakeGitHub
    directory: Path
    monkeypatch: pytest.MonkeyPatch

    def post(self, artifact: bytes | None, event: dict[str, Any]) -> int:
        (self.directory / "event.json").write_text(json.dumps(event))
        place = self.directory / "report"
        place.mkdir(exist_ok=True)
        if artifact is not None:
            (place / "preview").mkdir(exist_ok=True)
            (place / "preview" / "preview.zip").write_bytes(artifact)
        for name, value in {
            "GITHUB_EVENT_PATH": str(self.directory / "event.json"),
            "GITHUB_API_URL": self.github.url,
            "GITHUB_TOKEN": "token",
        }.items():
            self.monkeypatch.setenv(name, value)
        return post.main([str(place)])


@pytest.fixture
def desk(github: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(github, tmp_path, monkeypatch)


def test_one_comment_is_made_then_updated_then_left_alone(desk: Desk) -> None:
    github = desk.github
    for number in range(150):
        github.add("somebody", f"comment {number}")
    github.add("somebody", "<!-- flotilla: preview -->\nmine")
    first = zipped(REPORT.write().encode())
    assert desk.post(first, event()) == 0
    assert len(github.comments) == 152
    assert "create `web-2`" in github.comments[-1]["body"]

    quiet = Report((StackReport("dev"),), "b" * 40)
    assert desk.post(zipped(quiet.write().encode()), event()) == 0
    assert len(github.comments) == 152
    assert "No changes in `dev`" in github.comments[-1]["body"]
    assert desk.post(zipped(quiet.write().encode()), event()) == 0
    assert sum(asked.startswith("PATCH") for asked in github.asked) == 1
    assert github.comments[150]["body"].endswith("mine"), "another's comment is never touched"


def test_the_pull_request_is_found_by_the_event_alone(desk: Desk) -> None:
    desk.github.pulls = [
        pull(8, sha="c" * 40),
        pull(9, head="others/site"),
        pull(10, base="others/site"),
        {**pull(11), "head": {"sha": HEAD, "repo": None}},
        pull(7),
    ]
    assert desk.post(zipped(REPORT.write().encode()), event()) == 0
    assert "head=them%3Afeature%2F%C3%BC%26x%3D1&" in desk.github.asked[0], (
        "the branch's name is only a value"
    )
    assert [asked for asked in desk.github.asked if asked.startswith("POST")] == [
        "POST /repos/us/site/issues/7/comments"
    ]


def test_a_commit_that_is_not_the_newest_any_more_gets_no_comment(desk: Desk) -> None:
    desk.github.pulls = [pull(sha="c" * 40)]
    assert desk.post(zipped(REPORT.write().encode()), event()) == 0
    assert desk.github.comments == []


@pytest.mark.parametrize(
    ("artifact", "why"),
    [
        (b"not a zip", "no zip file"),
        (zipped(b"{}", name="../preview.json"), "no zip file with a preview.json"),
        (zipped(b"{}"), "must be an object"),
        (zipped(b" " * 20_000_000), "more than"),
        (b"x" * 2_000_000, "at most"),
        (zipped(REPORT.write().encode().replace(b"create", b"nonsense")), "operation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_artifact_of_another_form_is_refused(
    desk: Desk, artifact: bytes, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.post(artifact, event()) == 1
    assert why in capsys.readouterr().err
    assert desk.github.asked == []


def test_a_run_without_a_report_is_no_error(desk: Desk) -> None:
    assert desk.post(None, event()) == 0
    assert desk.github.asked == []


@pytest.mark.parametrize(
    "changes", [{"event": "push"}, {"name": "another"}, {"name": "preview-clouds"}], ids=str
)
def test_a_run_of_another_kind_is_refused(desk: Desk, changes: dict[str, str]) -> None:
    """Also a fork's that calls itself the preview of the real clouds."""
    assert desk.post(zipped(REPORT.write().encode()), event(**changes)) == 1
    assert desk.github.asked == []
