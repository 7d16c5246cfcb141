"""`scripts/preview` for real: a clone with a changed number and image is judged by a cloud that it brings up itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from review import comment, report
from tests.engine.site import ROOT

# A sandbox, two stacks deployed and previewed.
pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
RUN_SECONDS = 560


@dataclass(frozen=True)
class Checkout:
    """A repository with the project as it is in this working tree, committed."""

    directory: Path
    scratch: Path

    def settings(self, stack: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.file(stack).read_text())
        return found

    def file(self, stack: str) -> Path:
        return self.directory / f"Pulumi.{stack}.yaml"

    def write(self, stack: str, settings: dict[str, Any]) -> None:
        self.file(stack).write_text(yaml.safe_dump(settings))

    def commit(self) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        for command in (("add", "-A"), (*identity, "commit", "-qm", "as it was")):
            subprocess.run(["git", "-C", str(self.directory), *command], check=True)

    def preview(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.scratch.mkdir(exist_ok=True)
        return subprocess.run(
            [str(self.directory / "scripts" / "preview"), *arguments],
            env={**os.environ, "TMPDIR": str(self.scratch)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    # Sockets of the sandbox lie below; their paths may not be long.
    with tempfile.TemporaryDirectory(prefix="preview-") as place:
        directory = tmp_path_factory.mktemp("checkout") / "project"
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(directory)], check=True)
        copied = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, copied.split("\0")):
            if (ROOT / name).is_file():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).write_bytes((ROOT / name).read_bytes())
                (directory / name).chmod((ROOT / name).stat().st_mode)
        (directory / ".git/info/exclude").write_text(".venv\n")
        (directory / ".venv").symlink_to(Path(sys.executable).parent.parent)
        yield Checkout(directory, Path(place) / "tmp")


def test_a_changed_number_and_image_are_told_with_their_causes(checkout: Checkout, tmp_path: Path) -> None:
    dev, prod = checkout.settings("dev"), checkout.settings("prod")
    dev["config"]["flotilla:web"] |= {"count": 2, "image": "web-2026.11.20-aaaa"}
    checkout.write("dev", dev)
    prod["config"]["flotilla:web"]["count"] = 0
    checkout.write("prod", prod)
    checkout.commit()
    dev["config"]["flotilla:web"] |= {"count": 3, "image": "web-2026.11.21-bbbb"}
    checkout.write("dev", dev)

    done = checkout.preview(
        "--base", "HEAD", "--json", str(tmp_path / "preview.json"), "--comment", str(tmp_path / "preview.md")
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (1, 0), done.stderr

    text = (tmp_path / "preview.md").read_text()
    assert text.startswith("<!-- flotilla: preview -->\n")
    lines = text.splitlines()
    assert "- ♻️ replace `web-1`, `web-2` because of `image` (`Droplet`)" in lines
    assert "- ➕ create `web-3` (`Droplet`)" in lines
    assert not [line for line in lines if line.startswith("- ➖")], "nothing else goes"
    assert "<details><summary>Diff of dev</summary>" in lines
    assert "[secret]" in text
    assert len(text) <= comment.MAX_CHARACTERS
    assert "| `prod` | cannot be previewed |" in text
    assert "flotilla:web.count = 0" in text

    found = report.read((tmp_path / "preview.json").read_bytes())
    assert found.base == head(checkout)
    [dev_report, prod_report] = found.stacks
    assert dev_report.notes == ()
    assert dev_report.tally["replace"] >= 2
    assert any(change.name == "web-canary" for change in dev_report.changes), "as it would be watched"
    assert prod_report.failed is not None
    assert "could not be deployed to compare with" in prod_report.notes[0]
    assert str(checkout.scratch) not in json.dumps(found.write()), (
        "paths of this machine are nobody's business"
    )

    assert list(checkout.scratch.iterdir()) == [], "nothing is left"
    assert sandboxes(checkout) == []


def test_without_a_base_everything_would_be_made_and_nothing_changes_in_the_checkout(
    checkout: Checkout,
) -> None:
    before = checkout.file("dev").read_text()
    done = checkout.preview("--stack", "dev")
    assert done.returncode == 0, done.stderr
    assert "against empty accounts" in done.stdout
    assert "- ➕ create `database-1`, `web-1..3` (`Droplet`)" in done.stdout
    assert checkout.file("dev").read_text() == before
    assert list(checkout.scratch.iterdir()) == []


def test_help_and_mistakes_are_answered_at_once(checkout: Checkout) -> None:
    assert "--base REF" in checkout.preview("--help").stdout
    unknown = checkout.preview("--stack", "test")
    assert unknown.returncode == 2
    assert "there is no stack test; there are: dev, prod" in unknown.stderr
    nowhere = checkout.preview("--base", "nowhere")
    assert nowhere.returncode == 2
    assert "nowhere" in nowhere.stderr
    assert list(checkout.scratch.iterdir()) == []


def head(checkout: Checkout) -> str:
    command = ["git", "-C", str(checkout.directory), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def sandboxes(checkout: Checkout) -> list[str]:
    """Command lines of processes of a sandbox that lived in the scratch directory."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            if str(checkout.scratch) in line:
                found.append(line)
    return found
