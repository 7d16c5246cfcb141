"""Previews without any account: the commit before the change is deployed to a cloud on this machine, and the change is
previewed against that. The cloud and everything else is thrown away afterwards."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fleet.digitalocean import DigitalOcean
from review import checkouts, stacks
from review.engine import Engine
from review.report import Report, StackReport
from review.stacks import Settings

# Stand-ins for images that no config names yet: `fleet bake` would write them.
UNBAKED: Final = {role: f"{role}-2000.01.01-0000" for role in ("web", "database", "autoscaler")}
_BOOT_SECONDS: Final = 60.0
# What keeps the desk from watching these machines, in front of its own modules.
_UNWATCHED: Final = Path(__file__).resolve().parent / "unwatched"

Say = Callable[[str], None]


class PreviewError(Exception):
    """Nothing could be previewed; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is judged: the working tree of a repository, against a commit of it or against nothing."""

    repository: Path
    base: str | None
    stacks: Sequence[str] = field(default=())  # empty: all


def judge(change: Change, say: Say) -> Report:
    """The report. Raises PreviewError, and CheckoutError for a ref that git does not know."""
    with tempfile.TemporaryDirectory(prefix="flotilla-preview-") as directory:
        place = Path(directory)
        checkouts.copy_working_tree(change.repository, place / "head")
        if change.base is not None:
            checkouts.copy_commit(change.repository, change.base, place / "base")
        wanted = _wanted(change, place)
        files = [path for name in ("base", "head") for path in _files(place / name, wanted)]
        zones = frozenset[str]().union(*(stacks.zones(settings) for settings in files))
        with _sandbox(place / "cloud", change.repository, zones) as environment:
            say("Making the images that the configs name ...")
            asyncio.run(_make_images(environment, files))
            return _Trial(place, change, environment, wanted, say).report()


def _wanted(change: Change, place: Path) -> list[str]:
    there = sorted({*stacks.names(place / "head"), *stacks.names(place / "base")})
    unknown = [stack for stack in change.stacks if stack not in there]
    if unknown:
        raise PreviewError(f"there is no stack {', '.join(unknown)}; there are: {', '.join(there)}")
    return [stack for stack in there if not change.stacks or stack in change.stacks]


def _files(project: Path, wanted: Iterable[str]) -> Iterator[Settings]:
    """The settings of these stacks; those that cannot be read are told when their turn comes."""
    for stack in wanted:
        path = stacks.file(project, stack)
        if path.exists():
            try:
                yield stacks.load(path)
            except stacks.SettingsError:
                continue


@dataclass(slots=True)
class _Trial:
    """Deploys and previews in one directory: its path is part of what a program declares."""

    place: Path
    change: Change
    environment: Mapping[str, str] = field(repr=False)
    wanted: Sequence[str]
    say: Say
    seeds: dict[str, Settings] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def project(self) -> Path:
        return self.place / "project"

    @property
    def engine(self) -> Engine:
        return Engine(self.project, self.environment, self.place)

    def report(self) -> Report:
        base = None
        if self.change.base is not None:
            base = checkouts.commit(self.change.repository, self.change.base)
            with self._inside("base"):
                for stack in self.wanted:
                    self._deploy(stack)
        with self._inside("head"):
            found = tuple(self._preview(stack) for stack in self.wanted)
        return Report(found, base)

    @contextmanager
    def _inside(self, copy: str) -> Iterator[None]:
        (self.place / copy).rename(self.project)
        venv = self.project / ".venv"
        if venv.is_symlink():  # untracked in some working trees, and so copied
            venv.unlink()
        venv.symlink_to(Path(sys.executable).parent.parent)
        try:
            yield
        finally:
            self.project.rename(self.place / copy)

    def _deploy(self, stack: str) -> None:
        if not stacks.file(self.project, stack).exists():
            self._note(stack, "The stack is new: it is previewed against empty accounts.")
            return
        self.say(f"Deploying {stack} as it was ...")
        unwatched = {**self.environment, "PYTHONPATH": str(_UNWATCHED)}
        problem = self._prepare(stack) or replace(self.engine, environment=unwatched).deploy(stack)
        if problem is not None:
            first = problem.strip().splitlines()
            self._note(
                stack, f"The commit before could not be deployed to compare with: {' '.join(first)[:500]}"
            )

    def _preview(self, stack: str) -> StackReport:
        notes = self.notes.get(stack, [])
        if not stacks.file(self.project, stack).exists():
            return StackReport(
                stack, notes=(*notes, "The change removes this stack's config; nothing is previewed.")
            )
        self.say(f"Previewing {stack} ...")
        problem = self._prepare(stack)
        if problem is not None:
            return StackReport(stack, failed=problem, notes=tuple(notes))
        return replace(self.engine.preview(stack), notes=tuple(notes))

    def _prepare(self, stack: str) -> str | None:
        """Give the stack in this directory the seed that it has in the sandbox, and images; None, or what is wrong
        with its config."""
        path = stacks.file(self.project, stack)
        try:
            settings = stacks.with_images(stacks.load(path), UNBAKED)
        except stacks.SettingsError as error:
            return str(error)
        if stack in self.seeds:
            stacks.save(path, stacks.with_secrets_of(settings, self.seeds[stack]))
            return None
        stacks.save(path, stacks.without_secrets(settings))
        code, said = self.engine.run(sys.executable, "-m", "fleet.cli", "init", stack)
        if code != 0:
            return said.strip()
        self.seeds[stack] = stacks.load(path)
        return None

    def _note(self, stack: str, text: str) -> None:
        self.notes.setdefault(stack, []).append(text)


@contextmanager
def _sandbox(home: Path, repository: Path, zones: Iterable[str]) -> Iterator[Mapping[str, str]]:
    """A cloud with machines that only seem to be there, on free ports; what a shell needs to use it."""
    wanted = [option for zone in sorted(zones) for option in ("--zone", zone)]
    try:
        _control(
            home, repository, "up", "--port", "0", "--machines", "simulated", "--no-rate-limits", *wanted
        )
        words = shlex.split(_control(home, repository, "env"))
        pairs = (word.partition("=") for word in words if word != "export")
        yield {**_neutral(), **{name: value for name, _, value in pairs}, "HOME": str(home)}
    finally:
        _control(home, repository, "down", "--purge")


def _neutral() -> dict[str, str]:
    """Nothing of the caller's accounts or of his own Pulumi."""
    foreign = (
        "PULUMI_",
        "DIGITALOCEAN_",
        "CLOUDFLARE_",
        "AWS_",
        "SPACES_",
        "GITHUB_",
        "ACTIONS_",
        "FLOTILLA_",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _control(home: Path, repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments, "--home", str(home)],
        cwd=repository,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PreviewError(f"`python -m sandbox {arguments[0]}` failed: {done.stderr.strip()}")
    return done.stdout


async def _make_images(environment: Mapping[str, str], files: Sequence[Settings]) -> None:
    """Snapshots by the names in the configs; nobody boots them here. In every region, for a change may move there."""
    account = DigitalOcean.at(environment["DIGITALOCEAN_API_URL"], environment["DIGITALOCEAN_TOKEN"])
    there = {str(image["slug"]) for image in account.every("/v2/images", "images") if image.get("slug")}
    named = frozenset(UNBAKED.values()).union(*(stacks.image_names(settings) for settings in files))
    known = {str(region["slug"]) for region in account.every("/v2/regions", "regions")}
    for region in sorted(known & frozenset[str]().union(*(stacks.regions(settings) for settings in files))):
        body = {"name": "baker", "region": region, "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
        baker = int(account.post("/v2/droplets", body)["droplet"]["id"])
        await account.await_droplet(baker, "active", seconds=_BOOT_SECONDS)
        for name in sorted(named - there):
            await account.act(baker, "snapshot", name=name)
        account.delete(f"/v2/droplets/{baker}")
