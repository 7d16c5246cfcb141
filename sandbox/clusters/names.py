"""The names clients reach a cluster by, which follow its primary."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.api.databases_port import ClusterSpec, DatabaseNode
from sandbox.dns import DnsRecord

DOMAIN = "ondigitalocean.com"
# Short, so that clients find the new primary soon after the old one died.
_SECONDS = 5


def of(spec: ClusterSpec, primary: int) -> Iterator[DnsRecord]:
    """Public and private name of the primary, and of the first standby if there is one."""
    first = next((node for node in spec.nodes if node.id == primary), None)
    second = next((node for node in spec.nodes if node.id != primary), None)
    if first is not None:
        yield from _addresses(first, spec.host, spec.private_host)
    if second is not None:
        yield from _addresses(second, spec.standby_host, spec.private_standby_host)


def _addresses(node: DatabaseNode, public: str, private: str) -> Iterator[DnsRecord]:
    for name, card in ((public, node.public), (private, node.private)):
        if name:
            yield DnsRecord(name, "A", _SECONDS, card.address)
