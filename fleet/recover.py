"""Making a stack fit for `pulumi up` again after a run that failed or was killed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

from fleet import edge_certificates, locks, state_files
from fleet.cloudflare import Cloudflare
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError, LockedError
from fleet.pulumi_cli import PulumiCli
from fleet.settle import (
    DATABASE_CLUSTER,
    DROPLET,
    SPACES_KEY,
    Clouds,
    Settlement,
    known_ids,
    pending_creates,
    settle,
    settled_state,
    twins,
    untracked,
    untracked_members,
)
from fleet.web_api import Json, await_value

CREATING_SECONDS = 120.0
# As long as Pulumi's provider waits for one.
CLUSTER_SECONDS = 1800.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was done, for `--json`."""

    released: list[str]
    settled: list[Settlement]
    twins: list[str]
    untracked: list[str]
    untracked_clusters: list[str]
    removed_certificates: list[str]
    foreign_certificates: list[str]
    refreshed: bool

    def as_json(self) -> Json:
        return {
            "released_locks": self.released,
            "adopted": {item.create.urn: item.adopt for item in self.settled if item.adopt is not None},
            "removed": {item.create.urn: list(item.remove) for item in self.settled if item.remove},
            "cleared": [item.create.urn for item in self.settled if item.adopt is None],
            "removed_twins": self.twins,
            "untracked_droplets": self.untracked,
            "untracked_clusters": self.untracked_clusters,
            "removed_certificates": self.removed_certificates,
            "foreign_certificates": self.foreign_certificates,
            "refreshed": self.refreshed,
        }


def clouds_from_environment() -> Clouds:
    return Clouds(
        functools.cache(DigitalOcean.from_environment), functools.cache(Cloudflare.from_environment)
    )


def recover(cli: PulumiCli, stack: str, clouds: Clouds, say: Say, refresh: Callable[[], None]) -> Recovery:
    """Release dead locks, mend the state's files, settle pending creates, refresh, remove twins and stray certificates.

    Raises LockedError while a run is at work.
    Every step may be cut off and done again: the state is written once, with all of the settlements.
    """
    released = _release(cli, stack, say)
    for path in state_files.mend(cli.backend_url(), cli.project.name, stack, cli.project.directory):
        say(f"Removed {path}, which a dead run left half written")
    state = cli.export(stack)
    if _uses_digitalocean(state):
        # The engine's refresh would find out later, and say less.
        clouds.digitalocean().check()
    settlements = _settle(cli, stack, state, clouds, say)
    populated = bool(state["deployment"].get("resources") or settlements)
    if populated:
        refresh()
    state = cli.export(stack)
    doubles, strays = _look_for_strays(state, stack, clouds, say)
    clusters = _look_for_clusters(state, stack, clouds, say)
    removed, foreign = _clean_edge(cli, stack, state, clouds, say)
    return Recovery(released, settlements, doubles, strays, clusters, removed, foreign, populated)


def _release(cli: PulumiCli, stack: str, say: Say) -> list[str]:
    store = locks.open_locks(cli.backend_url(), cli.project.name, stack, cli.project.directory)
    found = locks.sort_locks(store)
    if found.held:
        raise LockedError(locks.refusal(stack, found.held))
    for lock in found.dead:
        store.release(lock)
        say(f"Released the lock of a dead run: {lock.path if isinstance(lock, locks.Torn) else lock}")
    return [lock.path for lock in found.dead]


def _settle(cli: PulumiCli, stack: str, state: Json, clouds: Clouds, say: Say) -> list[Settlement]:
    creates = pending_creates(state)
    if not state["deployment"].get("pending_operations"):
        return []
    known = known_ids(state)
    settlements = [settle(create, clouds, known) for create in creates]
    for item in settlements:
        for found in item.remove:
            if item.create.type == SPACES_KEY:
                clouds.digitalocean().delete(f"/v2/spaces/keys/{found}")
            else:
                asyncio.run(_remove(clouds.digitalocean(), int(found)))
        say(f"Pending create: {item}")
        if item.create.type == DATABASE_CLUSTER and item.adopt is not None:
            asyncio.run(_await_cluster(clouds.digitalocean(), item.adopt))
    cli.import_state(stack, settled_state(state, settlements))
    return settlements


async def _remove(cloud: DigitalOcean, droplet: int) -> None:
    """Delete a droplet. One that is still being made cannot be deleted, so that is waited for."""
    with contextlib.suppress(FleetError):
        await cloud.await_droplet(droplet, "active", seconds=CREATING_SECONDS)
    await asyncio.to_thread(cloud.delete, f"/v2/droplets/{droplet}")


async def _await_cluster(cloud: DigitalOcean, cluster: str) -> None:
    """Until it is online: before, nothing can be made in it, and the next `up` would not wait for what it has."""
    await await_value(
        lambda: cloud.get(f"/v2/databases/{cluster}")["database"]["status"],
        lambda status: bool(status == "online"),
        seconds=CLUSTER_SECONDS,
        what=f"database cluster {cluster} to be online",
    )


def _uses_digitalocean(state: Json) -> bool:
    return any(kind.startswith("digitalocean:") for kind, _ in known_ids(state))


def _clean_edge(
    cli: PulumiCli, stack: str, state: Json, clouds: Clouds, say: Say
) -> tuple[list[str], list[str]]:
    """Certificates at the edge that are in no state: removed if they are the stack's own, else named."""
    owner = edge_certificates.Owner.of_stack(cli, stack)
    return edge_certificates.clean(clouds.cloudflare(), state, owner, say) if owner else ([], [])


def _look_for_strays(state: Json, stack: str, clouds: Clouds, say: Say) -> tuple[list[str], list[str]]:
    """Droplets with the stack's tag that are in no state: twins, which are removed, and others.

    The others may be burst members, so they are only named.
    """
    if not _uses_digitalocean(state):
        return [], []
    cloud = clouds.digitalocean()
    found = untracked(state, DROPLET, list(cloud.every("/v2/droplets", "droplets", tag_name=stack)))
    doubles = twins(state, found)
    for droplet in doubles:
        asyncio.run(_remove(cloud, int(droplet["id"])))
        say(f"Removed droplet {_shown(droplet)}: made twice, because an answer of the cloud was lost")
    strays = [_shown(droplet) for droplet in found if droplet not in doubles]
    for stray in strays:
        say(f"warning: droplet {stray} has the tag {stack} but is not in the stack's state")
    return [_shown(droplet) for droplet in doubles], strays


def _look_for_clusters(state: Json, stack: str, clouds: Clouds, say: Say) -> list[str]:
    """Database clusters with the stack's tag that are in no state; never removed here: they may hold data.

    The same goes for what is in the stack's own cluster, of which the cloud takes no second one of the same name.
    """
    if not _uses_digitalocean(state):
        return []
    rows = list(clouds.digitalocean().every("/v2/databases", "databases", tag_name=stack))
    strays = untracked(state, DATABASE_CLUSTER, rows)
    for cluster in strays:
        say(
            f"warning: database cluster {_shown(cluster)} has the tag {stack} but is not in the stack's state"
        )
    for cluster in (row for row in rows if row not in strays):
        for member in untracked_members(state, cluster):
            say(
                f"warning: {member} of database cluster {_shown(cluster)} is not in the stack's state; if the next "
                "`pulumi up` says that its name is not available, an answer was lost: delete it by hand and run `up` "
                "again (a database only when it holds nothing)"
            )
    return [_shown(cluster) for cluster in strays]


def _shown(row: Json) -> str:
    return f"{row['name']} ({row['id']})"
