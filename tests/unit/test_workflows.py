"""The rules for GitHub workflows: what they run is pinned, what they may do is little, and strangers get nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
Workflow = dict[str, Any]

# Only these jobs may write, and only this.
WRITERS = {
    ("preview-comment.yml", "comment"): {"actions": "read", "contents": "read", "pull-requests": "write"}
}
# What a stranger writes: none of it may be part of a program.
UNTRUSTED = re.compile(r"\$\{\{[^}]*\b(github\.event|github\.head_ref|inputs|steps\.|needs\.)[^}]*\}\}")
OWN_BRANCHES = "github.event.pull_request.head.repo.full_name == github.repository"


def load(path: Path) -> Workflow:
    found: Workflow = yaml.safe_load(path.read_text())
    # YAML 1.1 reads the key `on` as true.
    found["on"] = found.pop(True)  # type: ignore[call-overload]
    return found


WORKFLOWS = {path.name: load(path) for path in FILES}
JOBS = [
    pytest.param(file, job, id=f"{file}:{job}") for file, flow in WORKFLOWS.items() for job in flow["jobs"]
]
each_job = pytest.mark.parametrize(("file", "job"), JOBS)
each_file = pytest.mark.parametrize("file", WORKFLOWS)


def steps(file: str, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WORKFLOWS[file]["jobs"][job]["steps"]
    return found


def test_the_workflows_are_there() -> None:
    assert {"preview.yml", "preview-clouds.yml", "preview-comment.yml"} <= set(WORKFLOWS)


@each_file
def test_every_action_is_pinned_by_its_commit_and_says_its_version(file: str) -> None:
    lines = [line for line in (ROOT / ".github/workflows" / file).read_text().splitlines() if "uses:" in line]
    assert lines
    for line in lines:
        assert re.fullmatch(r"\s*-? ?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_action_has_one_version_everywhere() -> None:
    used = [
        step["uses"].split("@")
        for file, flow in WORKFLOWS.items()
        for job in flow["jobs"]
        for step in steps(file, job)
        if "uses" in step
    ]
    assert len({name for name, _ in used}) == len({(name, commit) for name, commit in used})


@each_file
def test_nothing_may_be_written_but_by_the_job_that_must(file: str) -> None:
    flow = WORKFLOWS[file]
    assert flow["permissions"] in ({}, {"contents": "read"})
    for name, job in flow["jobs"].items():
        assert job.get("permissions", {}) == WRITERS.get((file, name), {})


@each_file
def test_a_pull_request_of_a_stranger_starts_nothing_beside_secrets(file: str) -> None:
    flow = WORKFLOWS[file]
    assert "pull_request_target" not in flow["on"]
    for job in flow["jobs"].values():
        if "pull_request" in flow["on"] and "secrets." in str(job):
            assert job["if"] == OWN_BRANCHES
            assert job["environment"]


@each_job
def test_a_workflow_with_rights_runs_code_of_the_base_branch_only(file: str, job: str) -> None:
    if "workflow_run" in WORKFLOWS[file]["on"]:
        checkouts = [step for step in steps(file, job) if "actions/checkout" in step.get("uses", "")]
        assert all(set(step["with"]) == {"persist-credentials"} for step in checkouts)
        assert "cache" not in str(steps(file, job)), "a cache may hold what a pull request wrote"
        downloads = [step for step in steps(file, job) if "download-artifact" in step.get("uses", "")]
        assert all(step["with"]["skip-decompress"] is True for step in downloads)


@each_job
def test_no_program_holds_text_of_strangers(file: str, job: str) -> None:
    for step in steps(file, job):
        assert "${{" not in step.get("run", ""), step
        assert not UNTRUSTED.search(step.get("run", ""))


@each_job
def test_checkouts_leave_no_token_behind(file: str, job: str) -> None:
    for step in steps(file, job):
        if "actions/checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


@each_job
def test_a_job_has_an_end_and_a_pinned_runner(file: str, job: str) -> None:
    found = WORKFLOWS[file]["jobs"][job]
    assert found["timeout-minutes"] <= 90
    assert re.fullmatch(r"ubuntu-\d\d\.\d\d", found["runs-on"])


@each_file
def test_runs_of_one_pull_request_take_turns(file: str) -> None:
    concurrency = WORKFLOWS[file]["concurrency"]
    assert "${{" in concurrency["group"]
    assert concurrency["cancel-in-progress"] is ("pull_request" in WORKFLOWS[file]["on"])


@each_job
def test_what_is_run_is_there(file: str, job: str) -> None:
    """Scripts may be run; modules of ours exist."""
    for step in steps(file, job):
        for script in re.findall(r"(?<![\w/])(scripts/[\w-]+)", step.get("run", "")):
            assert (ROOT / script).stat().st_mode & 0o100, script
        for module in re.findall(r"-m ([\w.]+)", step.get("run", "")):
            place = ROOT.joinpath(*module.split("."))
            assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module
    if "uses" in str(steps(file, job)):
        named = re.findall(r"hashFiles\(([^)]*)\)", str(steps(file, job)))
        for name in re.findall(r"'([^']+)'", ", ".join(named)):
            assert name.startswith("preview.") or list(ROOT.glob(name)), name


def test_the_comment_follows_the_previews_by_their_names() -> None:
    followed = WORKFLOWS["preview-comment.yml"]["on"]["workflow_run"]["workflows"]
    assert followed == [WORKFLOWS["preview.yml"]["name"], WORKFLOWS["preview-clouds.yml"]["name"]]
