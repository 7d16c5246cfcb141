"""Runs a Pulumi program against mocks and hands back a recording of all it registered.

One fresh loop, context and set of mocks for each run. The recording is read after the run: only then is the absence
of a resource worth asserting. Uses the SDK's internal mock monitor, and is the only file that does.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import pulumi
from pulumi.runtime import mocks, rpc, settings

PROJECT = "flotilla"
_SIGNATURE = "4dabf18193072939515e22adb298388d"

REGION = "lon1"
SIZES = ("s-1vcpu-512mb-10gb", "s-1vcpu-1gb", "s-1vcpu-2gb", "s-2vcpu-4gb")
CLOUDFLARE_RANGES = ("173.245.48.0/20", "104.16.0.0/13", "172.64.0.0/13")
CLOUDFLARE_RANGES_V6 = ("2400:cb00::/32", "2a06:98c0::/29")
SECRET_KEYS = (
    f"{PROJECT}:seed",
    f"{PROJECT}:controllerCloudToken",
    f"{PROJECT}:controllerEdgeToken",
    "digitalocean:token",
)
ZONE_ID = "0123456789abcdef0123456789abcdef"
CLUSTER_AUTHORITY = "-----BEGIN CERTIFICATE-----\ncluster\n-----END CERTIFICATE-----\n"


@dataclass(frozen=True, slots=True)
class Registered:
    """One resource as the program registered it; inputs have the engine's spelling (camelCase)."""

    urn: str
    type: str
    name: str
    custom: bool
    parent: str
    inputs: Mapping[str, Any]
    dependencies: frozenset[str]
    """URNs, those of `depends_on` and those whose outputs were used."""
    property_dependencies: Mapping[str, frozenset[str]]
    protect: bool
    delete_before_replace: bool
    replace_on_changes: tuple[str, ...]
    additional_secret_outputs: tuple[str, ...]
    aliases: int
    ignore_changes: tuple[str, ...]

    def plain(self, key: str) -> Any:
        """An input, its secrets revealed."""
        return reveal(self.inputs[key])


@dataclass(slots=True)
class Recording:
    """All that one run of a program asked of the engine."""

    resources: list[Registered] = field(default_factory=list)
    outputs: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """What each component and the stack registered as outputs, by URN; one entry for each call."""
    invokes: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def of_type(self, type_: str) -> list[Registered]:
        return [resource for resource in self.resources if resource.type == type_]

    def named(self, name: str) -> Registered:
        """The only resource of this logical name."""
        (found,) = [resource for resource in self.resources if resource.name == name]
        return found

    def names(self) -> list[str]:
        return [resource.name for resource in self.resources]

    def upstream(self, name: str) -> set[str]:
        """Names of all that a resource waits for, directly or through others."""
        by_urn = {resource.urn: resource for resource in self.resources}
        seen: set[str] = set()
        pending = [self.named(name)]
        while pending:
            for urn in pending.pop().dependencies:
                if urn in by_urn and by_urn[urn].name not in seen:
                    seen.add(by_urn[urn].name)
                    pending.append(by_urn[urn])
        return seen

    def stack_outputs(self) -> Mapping[str, Any]:
        (outputs,) = [calls[-1] for urn, calls in self.outputs.items() if "::pulumi:pulumi:Stack::" in urn]
        return outputs


@dataclass(slots=True)
class World:
    """What the mocked clouds answer; tests change what they need."""

    images: list[dict[str, Any]] = field(
        default_factory=lambda: [distribution(), *map(snapshot, ("web", "database", "autoscaler"))]
    )
    sizes: Sequence[str] = SIZES
    regions: Sequence[str] = (REGION, "fra1")
    zones: Sequence[str] = (ZONE_ID,)
    client_certificates: Sequence[Mapping[str, str]] = ()
    """Of the zone, with `certificate` and `status`."""
    ranges: Sequence[str] = CLOUDFLARE_RANGES
    ranges_v6: Sequence[str] = CLOUDFLARE_RANGES_V6
    droplet_limit: int = 5000
    droplets: list[dict[str, Any]] = field(default_factory=list)
    failing: frozenset[str] = frozenset()
    """Lookups that fail, by the last part of their token, such as getSizes."""
    kept: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What resources of a type really have, whatever the program asks for, as when it has changes ignored."""


def snapshot(role: str, **changes: Any) -> dict[str, Any]:
    """A golden image as the API lists it."""
    number, digest = {"database": (102, "77c0"), "autoscaler": (103, "5d1e")}.get(role, (101, "3f2a"))
    usual = {
        "id": number,
        "name": f"{role}-2026.11.21-{digest}",
        "type": "snapshot",
        "slug": "",
        "regions": [REGION],
        "minDiskSize": 10,
        "created": "2026-11-21T09:00:00Z",
        "status": "available",
        "private": True,
    }
    return usual | changes


def droplet(name: str, **changes: Any) -> dict[str, Any]:
    """A droplet as the API lists it, made from the golden image of its role."""
    role = name.partition("-")[0]
    usual = {
        "name": name,
        "image": str(snapshot(role)["id"]),
        "size": "s-1vcpu-1gb",
        "tags": ["dev", f"dev-{role}"],
    }
    return usual | changes


def distribution(slug: str = "debian-13-x64") -> dict[str, Any]:
    """A distribution's image as the API lists it."""
    changes = {"id": 55, "name": "13 x64", "type": "base", "slug": slug, "regions": [REGION, "fra1"]}
    return snapshot("web", **changes, private=False, minDiskSize=7)


def deploy(
    program: Callable[[], object],
    *,
    world: World | None = None,
    stack: str = "dev",
    config: Mapping[str, Any] | None = None,
    preview: bool = False,
    record: Callable[[Recording], None] | None = None,
) -> Recording:
    """Run a program to its end and return the recording. Raises what the program raises.

    In a preview nothing has an id or a computed output yet, as when a stack is planned for the first time. `record`
    gets the recording before the run, for programs that fail.
    """
    recording = Recording()
    if record is not None:
        record(recording)
    with warnings.catch_warnings():
        # The Cloudflare SDK warns about a hundred of its own classes when it is imported.
        warnings.simplefilter("ignore", DeprecationWarning)
        return contextvars.copy_context().run(
            _deploy, recording, program, world or World(), stack, config or {}, preview
        )


def _deploy(
    recording: Recording,
    program: Callable[[], object],
    world: World,
    stack: str,
    config: Mapping[str, Any],
    preview: bool,
) -> Recording:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        monitor = _Monitor(_Mocks(world, recording, preview), recording)
        full = {key if ":" in key else f"{PROJECT}:{key}": _as_config(value) for key, value in config.items()}
        pulumi.runtime.set_all_config(full, list(SECRET_KEYS))
        mocks.set_mocks(monitor.mocks, project=PROJECT, stack=stack, preview=preview, monitor=monitor)
        # The stack that `set_mocks` made is finished already and would take no outputs.
        settings.set_root_resource(None)  # type: ignore[arg-type]  # "none yet", as at a program's start
        settings.SETTINGS.outputs.clear()
        loop.run_until_complete(pulumi.runtime.run_in_stack(lambda: _without_result(program)))
    finally:
        _end(loop)
    return recording


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """A program that fails leaves resources that wait for others which never come."""
    # Why it failed was raised already; each of them would tell it once more.
    loop.set_exception_handler(lambda *_: None)
    waiting = asyncio.all_tasks(loop)
    for task in waiting:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
    asyncio.set_event_loop(None)
    loop.close()


def _without_result(program: Callable[[], object]) -> None:
    program()


def _as_config(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def is_secret(value: Any) -> bool:
    """Whether an input was registered as a secret."""
    return isinstance(value, Mapping) and _SIGNATURE in value


def reveal(value: Any) -> Any:
    """A value with the secrets in it laid open."""
    if is_secret(value):
        return reveal(value["value"])
    if isinstance(value, Mapping):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item) for item in value]
    return value


class _UnansweredError(grpc.RpcError):
    """What the SDK gets from an engine whose plugin could not reach its cloud."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return f"{self.args[0]}: connection refused"


class _Mocks(mocks.Mocks):
    """Answers as the clouds would, from data."""

    def __init__(self, world: World, recording: Recording, preview: bool) -> None:
        self._world = world
        self._recording = recording
        self._preview = preview
        self._made = 0

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self._made += 1
        if not args.custom:
            return "", {}
        state = reveal(args.inputs)
        if args.typ in _AUTO_NAMED:
            state.setdefault("name", f"{args.name}-0a1b2c3")
        kept = self._world.kept.get(args.typ, {})
        if self._preview:
            return "", {**state, **kept}
        return str(1000 + self._made), {**state, **_computed(args.typ, self._made), **kept}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        self._recording.invokes.append((args.token, args.args))
        function = args.token.rpartition(":")[2]
        if function in self._world.failing:
            raise _UnansweredError(function)
        return self._answers()[function], []

    def _answers(self) -> dict[str, dict[str, Any]]:
        world = self._world
        sizes = [
            {"slug": slug, "available": True, "disk": 10 + 15 * number, "regions": list(world.regions)}
            for number, slug in enumerate(world.sizes)
        ]
        return {
            "getSizes": {"sizes": sizes},
            "getImages": {"images": world.images},
            "getAccount": {"dropletLimit": world.droplet_limit},
            "getDroplets": {"droplets": world.droplets},
            "getZones": {"results": [{"id": zone, "name": "foobar.com"} for zone in world.zones]},
            "getAuthenticatedOriginPullsCertificates": {"results": list(world.client_certificates)},
            "getDatabaseCa": {"certificate": CLUSTER_AUTHORITY},
            "getIpRanges": {"ipv4Cidrs": list(world.ranges), "ipv6Cidrs": list(world.ranges_v6)},
        }


_AUTO_NAMED = frozenset(
    f"digitalocean:index/{kind}"
    for kind in (
        "droplet:Droplet",
        "vpc:Vpc",
        "sshKey:SshKey",
        "firewall:Firewall",
        "volume:Volume",
        "databaseCluster:DatabaseCluster",
        "spacesBucket:SpacesBucket",
        "spacesKey:SpacesKey",
    )
)


def _computed(type_: str, number: int) -> dict[str, Any]:
    """What a cloud adds to a new resource; addresses from the ranges for documentation and the stack's network."""
    if type_ == "digitalocean:index/droplet:Droplet":
        host = divmod(number, 250)
        return {
            "ipv4Address": f"198.18.{host[0]}.{host[1] + 1}",
            "ipv4AddressPrivate": f"10.20.{host[0]}.{host[1] + 1}",
            "ipv6Address": f"2001:db8::{number}",
        }
    if type_ == "digitalocean:index/databaseCluster:DatabaseCluster":
        return {
            "privateHost": "private-database.db.example.com",
            "port": 25060.0,
            "user": "doadmin",
            "password": "of-doadmin",
        }
    if type_ == "digitalocean:index/databaseUser:DatabaseUser":
        return {"password": f"made-by-the-cloud-{number}"}
    if type_ == "digitalocean:index/spacesKey:SpacesKey":
        return {"accessKey": f"DO00{number}", "secretKey": f"opens-the-bucket-{number}"}
    if type_ == "cloudflare:index/originCaCertificate:OriginCaCertificate":
        return {"certificate": f"-----BEGIN CERTIFICATE-----\norigin{number}\n-----END CERTIFICATE-----\n"}
    return {}


class _Monitor(mocks.MockMonitor):
    """The SDK's mock monitor, which also writes down the options it otherwise throws away."""

    def __init__(self, answers: _Mocks, recording: Recording) -> None:
        super().__init__(answers)
        self._recording = recording

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]  # untyped in the SDK
        if request.type != "pulumi:pulumi:Stack":
            if response.urn in {resource.urn for resource in self._recording.resources}:
                raise AssertionError(f"registered twice: {response.urn}")
            self._recording.resources.append(_registered(request, response.urn))
        return response

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the SDK's name
        outputs = rpc.deserialize_properties(request.outputs)
        self._recording.outputs.setdefault(request.urn, []).append(outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]  # untyped in the SDK


def _registered(request: Any, urn: str) -> Registered:
    return Registered(
        urn=urn,
        type=request.type,
        name=request.name,
        custom=request.custom,
        parent=request.parent,
        inputs=rpc.deserialize_properties(request.object),
        dependencies=frozenset(request.dependencies),
        property_dependencies={
            key: frozenset(value.urns) for key, value in request.propertyDependencies.items()
        },
        protect=request.protect,
        delete_before_replace=request.deleteBeforeReplace,
        replace_on_changes=tuple(request.replaceOnChanges),
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        aliases=len(request.aliases),
        ignore_changes=tuple(request.ignoreChanges),
    )
