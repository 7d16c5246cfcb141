"""The product's own program as a project of a test: a stack, its config, the engine, and what each run did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from sandbox.providers.plugin_home import install_language_host
from tests.engine.local_cloud import LocalCloud, until
from toolchain import engine

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 100
PASSPHRASE = "test"
DROPLET = "digitalocean:index/droplet:Droplet"


@dataclass(frozen=True)
class Run:
    """One command of the engine that has ended: everything it printed, and its events in order."""

    exit: int
    printed: str
    events: list[dict[str, Any]]

    @cached_property
    def changes(self) -> dict[str, int]:
        """How many resources by operation, as the summary counts them; `same` left out."""
        found = [event["summaryEvent"] for event in self.events if "summaryEvent" in event]
        counts = found[-1].get("resourceChanges") or {} if found else {}
        return {kind: count for kind, count in counts.items() if kind != "same"}

    def done(self, *operations: str) -> list[str]:
        """Logical names of the resources to which this happened, in the order in which it ended."""
        steps = [event["resOutputsEvent"]["metadata"] for event in self.events if "resOutputsEvent" in event]
        return [step["urn"].rpartition("::")[2] for step in steps if step["op"] in operations]

    @property
    def errors(self) -> list[str]:
        """Its error messages."""
        found = [event["diagnosticEvent"] for event in self.events if "diagnosticEvent" in event]
        return [item["message"] for item in found if item["severity"] == "error"]


@dataclass(frozen=True)
class Template:
    """What is the same for all stacks of a test run: a seed, encrypted once, and the images."""

    settings: Mapping[str, Any]  # of a stack's file
    seed: str
    pulumi_home: Path
    images: Mapping[str, str]


@dataclass
class Site:
    """One stack in a directory and a backend of its own."""

    root: Path
    cloud: LocalCloud
    stack: str
    template: Template
    settings: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)  # that differ from what the sandbox gives
    runs: int = 0

    @classmethod
    def create(
        cls, root: Path, cloud: LocalCloud, template: Template, stack: str, *, example: str = "dev"
    ) -> Site:
        """A copy of the program and of an example's config, with a seed, in a new stack."""
        site = cls(root, cloud, stack, template)
        program_files(root)
        site.settings = yaml.safe_load((ROOT / f"Pulumi.{example}.yaml").read_text())
        site.config["flotilla:seed"] = template.settings["config"]["flotilla:seed"]
        site.settings["encryptionsalt"] = template.settings["encryptionsalt"]
        site.write()
        site.run("stack", "init", stack, "--no-select")
        return site

    @classmethod
    def numbered(cls, root: Path, cloud: LocalCloud, template: Template, number: int) -> Site:
        """A stack like dev, with images; its name, domain and network are no other's."""
        site = cls.create(root, cloud, template, f"site{number}")
        site.config["flotilla:domain"] = f"{site.stack}.foobar.dev"
        site.config["flotilla:cloud"]["network"] = f"10.{100 + number // 16}.{number % 16 * 16}.0/20"
        site.config["flotilla:edge"]["propagation_seconds"] = 1
        # A simulated machine has no visitors to watch.
        site.config["flotilla:web"]["rollout"] = {"canary_seconds": 0}
        for role, image in template.images.items():
            site.config[f"flotilla:{role}"]["image"] = image
        site.write()
        return site

    @property
    def domain(self) -> str:
        return str(self.settings["config"]["flotilla:domain"])

    @property
    def config(self) -> dict[str, Any]:
        """The stack's config, to be changed and then written."""
        config: dict[str, Any] = self.settings["config"]
        return config

    def set(self, section: str, **changes: Any) -> None:
        """Change keys of a section."""
        self.config[f"flotilla:{section}"] |= changes
        self.write()

    def write(self) -> None:
        (self.root / f"Pulumi.{self.stack}.yaml").write_text(yaml.safe_dump(self.settings))

    @property
    def environment(self) -> dict[str, str]:
        variables = stack_environment(self.root, self.template.pulumi_home, self.cloud.variables)
        return variables | self.variables

    def up(self, *arguments: str, expect: int = 0) -> Run:
        """An update without the preview before it."""
        return self.act("up", "--skip-preview", *arguments, expect=expect)

    def destroy(self) -> Run:
        return self.act("destroy", "--skip-preview")

    def act(self, verb: str, *arguments: str, expect: int = 0) -> Run:
        """`up`, `refresh`, `destroy` or `preview`, to its end."""
        with self.started(verb, *arguments) as (process, log):
            printed, _ = process.communicate(timeout=RUN_SECONDS)
        assert process.returncode == expect, printed
        return Run(process.returncode, printed, _events(log))

    @contextmanager
    def started(self, verb: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """A run under way, and its event log; killed at the end if it still runs."""
        self.runs += 1
        log = self.root / f"events-{self.runs}.json"
        agreed = [] if verb == "preview" else ["--yes"]
        process = self._spawn(verb, *agreed, "--stack", self.stack, "--event-log", str(log), *arguments)
        try:
            yield process, log
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Any other command of the engine; what it printed."""
        process = self._spawn(*arguments)
        printed, _ = process.communicate(timeout=RUN_SECONDS)
        assert process.returncode == expect, printed
        return printed

    def fleet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the operator's desk."""
        return subprocess.run(
            [sys.executable, "-m", "fleet.cli", *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )

    def recover(self) -> dict[str, Any]:
        """`fleet recover`, which must succeed; its report."""
        done = self.fleet("recover", "-s", self.stack, "--json")
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def state(self) -> list[dict[str, Any]]:
        """The resources in the state."""
        deployment = json.loads(self.run("stack", "export", "--stack", self.stack))["deployment"]
        assert not deployment.get("pending_operations"), deployment["pending_operations"]
        resources: list[dict[str, Any]] = deployment.get("resources") or []
        return resources

    def outputs(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.run("stack", "output", "--json", "--stack", self.stack))
        return decoded

    def droplets(self) -> dict[str, dict[str, Any]]:
        """The stack's droplets in the cloud by name."""
        found = self.cloud.list(f"droplets?tag_name={self.stack}&per_page=200", "droplets")
        return {droplet["name"]: droplet for droplet in found}

    def addresses(self) -> list[str]:
        """What the edge is told of this site."""
        return list(self.cloud.records(self.domain))

    def check_whole(self, members: int) -> None:
        """The cloud holds exactly what the state says: nothing untracked, nothing twice, nothing left over."""
        state = self.state()
        assert not [row["urn"] for row in state if row.get("delete")]
        tracked = sorted(str(row["id"]) for row in state if row["type"] == DROPLET)
        droplets = self.droplets()
        assert sorted(str(droplet["id"]) for droplet in droplets.values()) == tracked
        assert sorted(name.rpartition("-")[0] for name in droplets) == [
            "database-1",
            *(f"web-{number}" for number in range(1, members + 1)),
        ]
        [stack] = [row for row in state if row["type"] == "pulumi:pulumi:Stack"]
        assert sorted(self.addresses()) == sorted(stack["outputs"]["members"].values())
        found = {kind: len(names) for kind, names in self.cloud.inventory().items()}
        assert found == {
            "droplets": members + 1,
            "records": members,
            "certificates": 2,
            "volumes": 1,
            "firewalls": 2,
            "account/keys": 1,
            "tags": 3,
            "vpcs": 1,
        }

    def _spawn(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [engine.own_engine().path, *arguments, "--non-interactive"],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def program_files(root: Path) -> None:
    """The program with its virtual environment, in a fresh directory."""
    root.mkdir(parents=True)
    for name in ("__main__.py", "Pulumi.yaml"):
        (root / name).write_text((ROOT / name).read_text())
    (root / ".venv").symlink_to(Path(sys.executable).parent.parent)
    # The site is only looked for when an image does not hold it.
    (root / "app").symlink_to(ROOT / "app")


def stack_environment(root: Path, pulumi_home: Path, cloud: Mapping[str, str]) -> dict[str, str]:
    """What the engine runs with: a backend beside the program, and nothing of the caller's own Pulumi."""
    found = engine.own_engine()
    assert found.ready, f"{found.path} is not built; run `python -m toolchain engine`"
    state = root / "state"
    state.mkdir(exist_ok=True)
    return {
        "HOME": str(root),
        "PATH": f"{Path(found.path).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PULUMI_HOME": str(pulumi_home),
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_DEBUG_COMMANDS": "true",
        **cloud,
    }


def make_template(root: Path, cloud: LocalCloud) -> Template:
    """Images as `fleet bake` names them, and a seed as `fleet init` makes it."""
    program_files(root)
    (root / "Pulumi.dev.yaml").write_text((ROOT / "Pulumi.dev.yaml").read_text())
    home = root / "home"
    install_language_host(home)
    environment = stack_environment(root, home, cloud.variables)
    for command in (
        [sys.executable, "-m", "fleet.cli", "init", "dev"],
        [engine.own_engine().path, "config", "get", "seed", "--stack", "dev"],
    ):
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    return Template(
        settings=yaml.safe_load((root / "Pulumi.dev.yaml").read_text()),
        seed=done.stdout.strip(),
        pulumi_home=home,
        images={name: f"{name}-2026.11.21-3f2a" for name in ("web", "database")},
    )


NEXT_WEB_IMAGE = "web-2026.11.22-77c0"


def make_images(cloud: LocalCloud) -> None:
    """Snapshots to start members from; what is on them, nobody looks at here."""
    body = {"name": "baker", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
    baker = cloud.post("droplets", body)["droplet"]["id"]
    until(lambda: cloud.get(f"droplets/{baker}")["droplet"]["status"] == "active", "the baker to boot")
    for name in ("web-2026.11.21-3f2a", NEXT_WEB_IMAGE, "database-2026.11.21-3f2a"):
        cloud.act(baker, "snapshot", name=name)
    cloud.delete(f"droplets/{baker}")


def now() -> float:
    """What requests and commands are stamped with."""
    return time.time()


def _events(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
