"""`python3 -m review.post`: puts a report on the pull request that it is about, once, updated ever after.

Runs with a token that may write, beside code that the base branch holds and on an artifact that anybody may have
made. So nothing in the artifact is unpacked to disk, run, or believed: which pull request it is about is asked of
GitHub by the event's own words, the report must have its form, and all its text is shown as code.

Only the standard library: nothing is installed where that token is.
"""

from __future__ import annotations

import io
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from review import comment, report

_PER_PAGE: Final = 100
_MAX_PAGES: Final = 30
_SECONDS: Final = 30
_WRITER: Final = "github-actions[bot]"
_FILE: Final = "preview.json"


class PostError(Exception):
    """The text says what was wrong with the artifact or with GitHub's answer."""


@dataclass(frozen=True, slots=True)
class Run:
    """The run that made the report, from the event that GitHub sent: none of it was said by the pull request's code,
    though its branch was named by its author."""

    repository: str
    workflow: str
    head_sha: str
    head_owner: str
    head_repository: str
    head_branch: str

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Run:
        """Raises PostError for the event of another kind of run."""
        run = event["workflow_run"]
        if run["event"] != "pull_request":
            raise PostError(
                f"the run was started by {run['event']}; only those of pull requests have a preview"
            )
        head = run["head_repository"]
        return cls(
            repository=event["repository"]["full_name"],
            workflow=run["name"],
            head_sha=run["head_sha"],
            head_owner=head["owner"]["login"],
            head_repository=head["full_name"],
            head_branch=run["head_branch"],
        )


@dataclass(frozen=True, slots=True)
class GitHub:
    """Its REST API: https://docs.github.com/en/rest"""

    url: str
    token: str = field(repr=False)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the URL is GitHub's, from the runner
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace")
            raise PostError(f"GitHub answered {method} {path} with {error.code}: {said}") from error

    def every(self, path: str) -> Iterator[Any]:
        """A list, page after page."""
        joint = "&" if "?" in path else "?"
        for page in range(1, _MAX_PAGES + 1):
            rows = self.call("GET", f"{path}{joint}per_page={_PER_PAGE}&page={page}")
            yield from rows
            if len(rows) < _PER_PAGE:
                return


def pull_requests(github: GitHub, run: Run) -> list[int]:
    """Open ones whose newest commit is the one that was previewed: an older run must not hide a newer one."""
    head = urllib.parse.quote(f"{run.head_owner}:{run.head_branch}", safe="")
    found = github.every(f"/repos/{run.repository}/pulls?state=open&head={head}")
    return [
        int(pull["number"])
        for pull in found
        if pull["head"]["sha"] == run.head_sha
        and (pull["head"]["repo"] or {}).get("full_name") == run.head_repository
        and pull["base"]["repo"]["full_name"] == run.repository
    ]


def put(github: GitHub, repository: str, number: int, text: str) -> str:
    """Update our comment, or make it; which of these was done. A comment of somebody else is never touched."""
    first = text.partition("\n")[0]
    for existing in github.every(f"/repos/{repository}/issues/{number}/comments"):
        ours = existing["user"]["login"] == _WRITER and (existing["body"] or "").startswith(first)
        if ours and existing["body"].strip() == text.strip():
            return "unchanged"
        if ours:
            github.call("PATCH", f"/repos/{repository}/issues/comments/{existing['id']}", {"body": text})
            return "updated"
    github.call("POST", f"/repos/{repository}/issues/{number}/comments", {"body": text})
    return "made"


def artifact(directory: Path) -> bytes | None:
    """The document in the one zip file below a directory, read in memory and no further than it may be long; None
    when there is no file. Raises PostError."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    if not files:
        return None
    if len(files) > 1:
        raise PostError(f"the run left {len(files)} artifacts of the name instead of one")
    [path] = files
    if path.stat().st_size > report.MAX_BYTES:
        raise PostError(f"the artifact has {path.stat().st_size} bytes; at most {report.MAX_BYTES} are read")
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive, archive.open(_FILE) as member:
            content = member.read(report.MAX_BYTES + 1)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise PostError(f"the artifact is no zip file with a {_FILE}: {error}") from error
    if len(content) > report.MAX_BYTES:
        raise PostError(f"{_FILE} in the artifact has more than {report.MAX_BYTES} bytes")
    return content


def text_of(run: Run, content: bytes, limit: int = comment.MAX_CHARACTERS) -> str:
    """The comment for a report from anybody. Raises PostError."""
    kinds = {"preview": "sandbox", "preview-clouds": "clouds"}
    kind = kinds.get(run.workflow)
    if kind is None:
        raise PostError(f"workflow {run.workflow!r} makes no previews")
    if kind == "clouds" and run.head_repository != run.repository:
        raise PostError("a fork has no access to the real clouds and cannot have previewed anything there")
    try:
        found = report.read(content)
    except report.ReportError as error:
        raise PostError(f"the report {error}") from error
    return comment.render(found, comment.HEADINGS[kind].of(run.head_sha), limit)


def main(arguments: list[str]) -> int:
    """`DIRECTORY`: where the artifact was put as it is. Exit code 1, with a line, for an artifact that is refused."""
    try:
        run = Run.of(json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text()))
        content = artifact(Path(arguments[0]))
        if content is None:
            print("The run ended without a report; its log says why.")
            return 0
        text = text_of(run, content)
        github = GitHub(os.environ["GITHUB_API_URL"], os.environ["GITHUB_TOKEN"])
        numbers = pull_requests(github, run)
        for number in numbers:
            print(f"Comment on pull request {number}: {put(github, run.repository, number, text)}")
        if not numbers:
            print(f"No open pull request has {run.head_sha} as its newest commit; a newer run will comment.")
    except (PostError, OSError) as error:
        print(f"post: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
