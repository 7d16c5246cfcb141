"""What the driver remembers of a cluster over restarts; nothing secret."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sandbox.machines.port import MachineError


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """The node that has the data volume, or is about to get it, and what was made so far."""

    primary: int | None = None
    nodes: Mapping[int, str] = field(default_factory=dict)  # the size each has; "" before it runs
    users: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()


class ClusterRecords:
    """One file for each cluster."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "clusters"

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self._directory.glob("*.json")))

    def read(self, cluster: str) -> ClusterRecord:
        """An empty one for a cluster that was never made."""
        try:
            facts = json.loads(self._file(cluster).read_text())
        except FileNotFoundError:
            return ClusterRecord()
        return ClusterRecord(
            primary=facts["primary"],
            nodes={int(node): size for node, size in facts["nodes"].items()},
            users=tuple(facts["users"]),
            databases=tuple(facts["databases"]),
        )

    def write(self, cluster: str, record: ClusterRecord) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._file(cluster).with_suffix(".new")
        draft.write_text(json.dumps(asdict(record), indent=2) + "\n")
        draft.rename(self._file(cluster))

    def forget(self, cluster: str) -> None:
        self._file(cluster).unlink(missing_ok=True)

    def _file(self, cluster: str) -> Path:
        if not cluster or "/" in cluster or cluster.startswith("."):
            raise MachineError(f"cluster id {cluster!r} cannot name a file")
        return self._directory / f"{cluster}.json"
