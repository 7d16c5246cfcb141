"""The operator's documents, command by command, on one prod stack on a checkout of its own: the handbook, then every
runbook after what it is for has happened, then the demo."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.newcomer import ROOT, Newcomer, blocks, newcomer

_SECONDS = 1500
_DOCS = ROOT / "docs"

pytestmark = [pytest.mark.machines, pytest.mark.documents, pytest.mark.timeout(_SECONDS)]

# Each shell that an operator opens begins so; the local edge is faster than Cloudflare's.
_SHELL = """
PATH="$PWD/.venv/bin:$PATH"
eval "$(python -m sandbox env)"
"""
_SLOTS = ("web-1", "web-2", "web-3")
_SERVING_SECONDS = 240
_LOOK_EVERY_SECONDS = 1.0

# What has happened before somebody opens the runbook.
HAPPENED = {
    "member-down": "python -m sandbox fault web-2 kill",
    "database-down": "python -m sandbox fault database-cluster kill",
    "controller-down": "python -m sandbox fault autoscaler kill",
    "bad-release": """
        mkdir app/broken
        echo 'raise SystemExit("this release cannot start")' > app/broken/__init__.py
        pulumi config set -s prod --path flotilla:app.callable broken:app
        fleet bake web -s prod
        ! pulumi up -s prod --yes --skip-preview
        pulumi config rm -s prod --path flotilla:app.callable
        rm -r app/broken
    """,
    "lost-state": 'rm "${PULUMI_BACKEND_URL#file://}"/.pulumi/stacks/flotilla/prod.json*',
    "leaked-key": "true",
}


@pytest.fixture(scope="module")
def operator() -> Iterator[Newcomer]:
    with TemporaryDirectory(prefix="flotilla-operator-") as root, newcomer(Path(root)) as person:
        yield person


def test_every_command_of_the_handbook_works_on_prod(operator: Newcomer) -> None:
    operator.run("\n".join(blocks((_DOCS / "operations.md").read_text())), seconds=_SECONDS)


@pytest.mark.parametrize("name", list(HAPPENED))
def test_a_runbook_brings_the_stack_back(operator: Newcomer, name: str) -> None:
    good = operator.run(f"{_SHELL}pulumi config get -s prod --path flotilla:web.image").strip()
    operator.run(_SHELL + HAPPENED[name], seconds=_SECONDS)
    if name == "member-down":
        # By itself, it says; and only then is there somebody to log in to.
        await_serving(operator)
    commands = "\n".join(blocks((_DOCS / "runbooks" / f"{name}.md").read_text()))
    operator.run(f"{_SHELL}good={good}\n{commands}", seconds=_SECONDS)
    await_serving(operator)
    operator.run(f'{_SHELL}python -m sandbox visit "$(pulumi stack output url -s prod)"')


def await_serving(operator: Newcomer) -> None:
    """Every slot has an open member in the rotation."""
    deadline = time.monotonic() + _SERVING_SECONDS
    said = ""
    while time.monotonic() < deadline:
        said = operator.run(f"{_SHELL}fleet status -s prod --json || true")
        rows = json.loads(said or "[]")
        serving = {row["slot"] for row in rows if row["fence"] == "open" and row["in_rotation"]}
        if serving >= set(_SLOTS):
            return
        time.sleep(_LOOK_EVERY_SECONDS)
    raise AssertionError(f"not all of {_SLOTS} serve after {_SERVING_SECONDS} s: {said}")


def test_there_is_a_rehearsal_for_every_runbook() -> None:
    assert {path.stem for path in (_DOCS / "runbooks").glob("*.md")} - {"README"} == set(HAPPENED)


def test_the_demo_tells_its_story_to_the_end(operator: Newcomer) -> None:
    told = operator.run("make demo", seconds=_SECONDS)
    assert "The end" in told, told[-3000:]
