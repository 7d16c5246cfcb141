"""Keeps database clusters equal to the store: changes are applied in the background, always the newest state."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sandbox.api.addresses import to_interface
from sandbox.api.databases_port import ClusterSpec, DatabaseAccount, DatabaseClusters, DatabaseNode
from sandbox.disk import DiskFullError
from sandbox.machines.port import MachineError
from sandbox.store import Document

if TYPE_CHECKING:
    from sandbox.api.cloud import Cloud

_log = logging.getLogger(__name__)
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0


class Databases:
    """The clusters of a cloud and what drives them.

    Every change of a cluster's document counts its generation up; a cluster is online when its newest generation has
    been applied. One piece of work at a time is at a cluster, and a generation that a later one overtook is skipped.
    """

    def __init__(self, cloud: Cloud, driver: DatabaseClusters) -> None:
        self._cloud = cloud
        self.driver = driver
        self._locks: dict[str, asyncio.Lock] = {}
        self._applied: dict[str, int] = {}
        self.failures: dict[str, str] = {}
        """Why a cluster is not as its document says, by the cluster's id; tried again until it is."""
        driver.on_promotion = self.on_promotion

    async def restore(self) -> None:
        """Finish what was under way, and start the clusters that were online; returns when each was tried once."""
        for doomed in self._cloud.store.all("doomed_database"):
            self._spawn_removal(doomed["id"])
        clusters = self._cloud.store.all("database")
        for cluster in clusters:
            if cluster["status"] != "online":
                self._spawn(cluster)
        await asyncio.gather(*(self._restore(one) for one in clusters if one["status"] == "online"))

    def change(self, cluster: str, **changes: Any) -> Document:
        """Change some fields of a cluster that is there, and make it so."""
        store = self._cloud.store
        document = store.get("database", cluster) or {}
        changed = {**document, **changes, "generation": document["generation"] + 1}
        store.put("database", cluster, changed)
        self._spawn(changed)
        return changed

    def begin(self, cluster: Document) -> None:
        """Add a new cluster and make it."""
        self._cloud.store.put("database", cluster["id"], cluster)
        self.note(cluster, "cluster_create")
        self._spawn(cluster)
        self._cloud.fabric.changed()

    def doom(self, cluster: Document) -> None:
        """Take a cluster out of the cloud and destroy it in the background; until then it holds its addresses."""
        store, key = self._cloud.store, cluster["id"]
        with store.transaction():
            store.delete("database", key)
            store.put("doomed_database", key, cluster)
            for event in store.all("database_event"):
                if event["cluster"] == key:
                    store.delete("database_event", event["id"])
            for node in cluster["nodes"]:
                store.delete("isolated", node["id"])
        self._cloud.fabric.changed()
        self._spawn_removal(key)

    def every(self) -> list[Document]:
        """Clusters, and those being destroyed."""
        return self._cloud.store.all("database") + self._cloud.store.all("doomed_database")

    def note(self, cluster: Document, kind: str) -> None:
        event = {
            "id": uuid.uuid4().hex[:8],
            "cluster": cluster["id"],
            "cluster_name": cluster["name"],
            "event_type": kind,
            "create_time": self._cloud.stamp(),
        }
        self._cloud.store.put("database_event", event["id"], event)

    def on_promotion(self, cluster: str) -> None:
        """Another node is the primary now."""
        document = self._cloud.store.get("database", cluster)
        if document is None:
            return
        try:
            self.note(document, "cluster_master_promotion")
        except DiskFullError:
            later = self._cloud.stored(lambda: self.note(document, "cluster_master_promotion"))
            self._cloud.tasks.spawn(f"promotion in {cluster}", later)

    def spec(self, cluster: Document) -> ClusterSpec:
        """What the cluster of this document is made of."""
        size = self._cloud.catalog.database_sizes[cluster["size"]]
        names = host_names(cluster)
        return ClusterSpec(
            id=cluster["id"],
            name=cluster["name"],
            engine=cluster["engine"],
            version=cluster["version"],
            **names,
            authority=cluster["authority"],
            authority_key=cluster["authority_key"],
            vpc=cluster["vpc"],
            region=cluster["region"],
            memory_mib=size["memory"],
            vcpus=size["vcpus"],
            disk_gib=cluster["storage_size_mib"] // 1024,
            nodes=tuple(
                DatabaseNode(
                    id=node["id"],
                    hostname=node["hostname"],
                    public=to_interface(node["public"]),
                    private=to_interface(node["private"]),
                )
                for node in cluster["nodes"]
            ),
            users=tuple(
                DatabaseAccount(user["name"], user["password"], user["plugin"], user["role"] == "primary")
                for user in cluster["users"]
            ),
            databases=tuple(cluster["db_names"]),
            sql_mode=cluster["config"].get("sql_mode", ""),
            requires_primary_keys=cluster["config"].get("sql_require_primary_key", False),
        )

    def _spawn(self, cluster: Document) -> None:
        self._cloud.tasks.spawn(_work(cluster), self._apply(cluster["id"], cluster["generation"]))

    def _spawn_removal(self, cluster: str) -> None:
        self._cloud.tasks.spawn(f"destroy database {cluster}", self._remove(cluster))

    async def _restore(self, cluster: Document) -> None:
        if not await self._tried(cluster["id"], cluster["generation"]):
            self._spawn(cluster)

    async def _apply(self, key: str, generation: int) -> None:
        await self._cloud.pause()
        await _until_done(lambda: self._tried(key, generation))

    async def _tried(self, key: str, generation: int) -> bool:
        """Apply the newest state, unless that was done; false when it is to be tried again."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            cluster = self._cloud.store.get("database", key)
            if cluster is None or self._applied.get(key, 0) >= generation:
                return True
            try:
                await self._cloud.fabric.applied()
                await self.driver.apply(self.spec(cluster))
            except (MachineError, DiskFullError) as error:
                self._failed(cluster, str(error))
                return False
            except Exception as error:  # a defect of the driver must not leave a cluster half made for ever
                _log.exception("database cluster %s", key)
                self._failed(cluster, repr(error))
                return False
            self.failures.pop(key, None)
            self._applied[key] = cluster["generation"]
            await self._cloud.stored(lambda: self._finish(key))
            return True

    def _failed(self, cluster: Document, why: str) -> None:
        self.failures[cluster["id"]] = why
        _log.error("database cluster %s (%s): %s", cluster["name"], cluster["id"], why)

    def _finish(self, key: str) -> None:
        """Say that the cluster is online if nothing newer waits."""
        cluster = self._cloud.store.get("database", key)
        done = cluster is not None and cluster["generation"] == self._applied[key]
        if cluster is not None and done and cluster["status"] != "online":
            self._cloud.store.put("database", key, {**cluster, "status": "online"})

    async def _remove(self, key: str) -> None:
        await self._cloud.pause()
        await _until_done(lambda: self._removed(key))
        for known in (self._locks, self._applied, self.failures):
            known.pop(key, None)

    async def _removed(self, key: str) -> bool:
        """Destroy what is left of a cluster; false when it is to be tried again."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            doomed = self._cloud.store.get("doomed_database", key)
            if doomed is None:
                return True  # the request that wanted it was rolled back
            try:
                await self.driver.remove(key)
            except MachineError as error:
                self._failed(doomed, f"it could not be removed: {error}")
                return False
        await self._cloud.stored(lambda: self._cloud.store.delete("doomed_database", key))
        self._cloud.fabric.changed()
        return True


async def _until_done(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Try until it is true, with longer and longer pauses."""
    wait = _FIRST_WAIT_SECONDS
    while not await attempt():
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


def host_names(cluster: Document) -> dict[str, str]:
    """The names of a cluster's nodes, as the real service makes them; of standbys, "" without one."""
    suffix = f"{cluster['name']}-do-user-{cluster['account']}-0.{cluster['letter']}.db.ondigitalocean.com"
    standby = len(cluster["nodes"]) > 1
    return {
        "host": suffix,
        "private_host": f"private-{suffix}",
        "standby_host": f"replica-{suffix}" if standby else "",
        "private_standby_host": f"private-replica-{suffix}" if standby else "",
    }


def _work(cluster: Document) -> str:
    return f"database {cluster['id']} generation {cluster['generation']}"
