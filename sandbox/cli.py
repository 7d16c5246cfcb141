"""`python -m sandbox`: the local cloud's commands."""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox import client, lifecycle, reality
from sandbox.config import DROPLET_LIMIT, ConfigError, MachineKind, SandboxConfig
from sandbox.config import load as load_config
from sandbox.environment import exports
from sandbox.lifecycle import SandboxError
from sandbox.paths import SandboxPaths, default_home

app = typer.Typer(
    name="sandbox",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A cloud on this machine: DigitalOcean's and Cloudflare's APIs, droplets that boot as real machines, "
    'an edge. Start it with `up`, point a shell at it with `eval "$(python -m sandbox env)"`.',
)
# One for each stack of a project: settings such as origin pulls hold for a whole zone.
DEFAULT_ZONES = ("foobar.com", "foobar.dev")
Home = Annotated[Path | None, typer.Option(help="Where it keeps its state (FLOTILLA_SANDBOX_HOME).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for scripts.")]


_WARNINGS = {
    MachineKind.NONE: "MACHINES: NONE. Droplets are records and boot nowhere; real machines need root on Linux.",
    MachineKind.SIMULATED: "MACHINES: SIMULATED. Nothing boots: an SSH server stands in for each droplet, and every "
    "command on it succeeds unless a script says otherwise.",
}


def _machine_kind(wanted: str) -> MachineKind:
    """The kind that `--machines` asks for. Raises SandboxError."""
    if wanted == "auto":
        return MachineKind.REAL if lifecycle.can_run_machines() else MachineKind.NONE
    if wanted not in {kind.value for kind in MachineKind}:
        raise SandboxError(f"--machines is {wanted!r}; it takes real, none, simulated or auto")
    if wanted == MachineKind.REAL and not lifecycle.can_run_machines():
        raise SandboxError(
            "real machines need root on Linux; use sudo, or `--machines none` for the API alone"
        )
    return MachineKind(wanted)


def _paths(home: Path | None) -> SandboxPaths:
    return SandboxPaths((home or default_home()).expanduser().absolute())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@app.command()
def up(
    home: Home = None,
    port: Annotated[
        int | None,
        typer.Option(help="API port on 127.0.0.1; 0 takes a free one.", envvar="FLOTILLA_SANDBOX_PORT"),
    ] = None,
    machines: Annotated[
        str,
        typer.Option(
            help="`real` (root on Linux), `none` (droplets are records), `auto` (real where that is possible), or "
            "`simulated`: for tests of deployments, records with a stand-in for their SSH server in front."
        ),
    ] = "auto",
    zone: Annotated[
        list[str] | None, typer.Option(help="A zone of the Cloudflare account; may be given more than once.")
    ] = None,
    rate_limits: Annotated[bool, typer.Option(help="Refuse too many requests, as the real APIs do.")] = True,
    droplet_limit: Annotated[
        int, typer.Option(min=1, help="Droplets that the account may have.")
    ] = DROPLET_LIMIT,
) -> None:
    """Start it, or say that it runs. State of an earlier run comes back, its machines boot again."""
    kind = _machine_kind(machines)
    paths = _paths(home)
    if lifecycle.running(paths):
        _say(f"The sandbox is up already: {paths.home}")
        return
    if kind in _WARNINGS:
        _say(_WARNINGS[kind])
    config = lifecycle.prepare(
        paths,
        port=port,
        machines=kind,
        zones=zone or list(DEFAULT_ZONES),
        rate_limits=rate_limits,
        droplet_limit=droplet_limit,
        claim_instance=lambda known: reality.claim(paths, kind, known),
    )
    if kind is MachineKind.REAL:
        reality.prepare_host(_say)
    lifecycle.start(paths, config, _say)
    _say(f"The sandbox is up: http://127.0.0.1:{config.port}, state in {paths.home}")


@app.command()
def down(
    home: Home = None,
    purge: Annotated[
        bool, typer.Option(help="Forget everything: droplets, snapshots, records, stacks.")
    ] = False,
) -> None:
    """Stop it and leave no process, mount, namespace or rule behind. State stays unless `--purge`."""
    paths = _paths(home)
    lifecycle.stop(paths, purge=purge, sweep=reality.sweep)
    _say("The sandbox is down" + (" and forgotten." if purge else f"; its state stays in {paths.home}."))


@app.command()
def status(home: Home = None, as_json: Json = False) -> None:
    """What runs: API, machines, edge, memory, and which Pulumi engine is in use and why. Exit code 1 when down."""
    paths = _paths(home)
    document: dict[str, Any] = {"running": lifecycle.running(paths), "home": str(paths.home)}
    if document["running"]:
        document |= client.Control.of(paths).status()
    document["engine"] = reality.engine_line()
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        _print_status(document)
    if not document["running"]:
        raise typer.Exit(1)


def _print_status(document: dict[str, Any]) -> None:
    """Lines of `key: value`; a list of things gets a line each."""
    for key, value in document.items():
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            print(f"{key}:")
            for item in value:
                print("  " + "  ".join(f"{name}={part}" for name, part in item.items()))
        else:
            shown = ", ".join(str(item) for item in value) or "none" if isinstance(value, list) else value
            print(f"{key}: {shown}")


@app.command()
def env(home: Home = None) -> None:
    """Lines for `eval`, after which a plain `pulumi up -s dev` works in this shell."""
    paths = _running(home)
    for name, value in exports(paths, _config(paths), reality.engine_directory()).items():
        print(f"export {name}={shlex.quote(value)}")


@app.command()
def logs(
    machine: Annotated[
        str | None,
        typer.Argument(help="Id or name of a droplet or a cluster's node; absent: the sandbox's own log."),
    ] = None,
    home: Home = None,
) -> None:
    """The console of a machine, or the sandbox's own log."""
    path = _paths(home).log
    if machine is not None:
        path = Path(client.Control.of(_running(home)).console(machine))
    print(path.read_text(errors="replace"), end="")


@app.command()
def visit(
    url: Annotated[str, typer.Argument(help="For example https://www.foobar.com")],
    home: Home = None,
) -> None:
    """Visit a site through the edge (or straight, when its record is not proxied) and print the curl line."""
    paths = _running(home)
    line = client.Control.of(paths).curl_line(url)
    answer = client.await_answer(line)
    print(answer)
    print(f"\nThe site answers:\n  {shlex.join(line)}")


class FaultKind(StrEnum):
    """What can be done to a machine."""

    KILL = "kill"
    ISOLATE = "isolate"
    HEAL = "heal"


@app.command()
def fault(
    name: Annotated[
        str, typer.Argument(help="A droplet or database cluster: its id, name, or how its name begins.")
    ],
    kind: Annotated[
        FaultKind,
        typer.Argument(
            help="kill: its power is cut. isolate: its network cables are pulled; heal puts them back."
        ),
    ],
    home: Home = None,
) -> None:
    """Break a machine, to rehearse what happens then. `kill` takes a cluster's primary node, `isolate` all of them."""
    _say(f"{kind}: {client.Control.of(_running(home)).inflict(name, kind)}")


@app.command()
def coverage() -> None:
    """Every route, setting and resource that this cloud has; the text of docs/coverage.md."""
    from sandbox.coverage import page

    print(page(), end="")


@app.command(hidden=True)
def serve(
    home: Annotated[Path, typer.Option()],
    ready_fd: Annotated[int, typer.Option()],
) -> None:
    """The daemon itself; `up` starts it."""
    from sandbox import daemon

    paths = SandboxPaths(home)
    daemon.run(paths, _config(paths), ready_fd)


def _running(home: Path | None) -> SandboxPaths:
    paths = _paths(home)
    if not lifecycle.running(paths):
        raise SandboxError(
            f"the sandbox in {paths.home} is not running; start it with `python -m sandbox up`"
        )
    return paths


def _config(paths: SandboxPaths) -> SandboxConfig:
    config = load_config(paths.config)
    if config is None:
        raise SandboxError(f"there is no sandbox in {paths.home}; make it with `python -m sandbox up`")
    return config


def main() -> None:
    try:
        app(prog_name="python -m sandbox")
    except (SandboxError, ConfigError) as error:
        _say(f"error: {error}")
        sys.exit(1)
