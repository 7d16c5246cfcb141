"""The edge in front of the members: what both show each other, and how visitors reach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from components.clouds import port
from fleet.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What members show whoever connects to them, and what they demand of him."""

    certificate: pulumi.Output[str]
    """PEM, for the site's name."""
    private_key: str = field(repr=False)
    client_authority: str
    """PEM; only clients with a certificate of this authority are served. Empty: anyone is."""
    ready: Sequence[pulumi.Resource]
    """What must be there before a member demands anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeArgs:
    """What an edge is made of."""

    edge: port.Edge
    identity: Identity = field(repr=False)
    domain: str
    rotation: int
    """A higher number gives new keys and certificates on both sides."""


class Edge(pulumi.ComponentResource):
    """Strict TLS from visitors to members: the edge checks the members' certificate, and they check the edge's."""

    origin: Origin
    """What the members need of it."""
    certificate: pulumi.Output[str]
    """The members' certificate, PEM."""
    native: pulumi.CustomResource
    """The members' certificate as the edge signed it."""

    def __init__(self, name: str, args: EdgeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("flotilla:index:Edge", name, None, opts)
        request = args.identity.origin_request(args.domain, args.rotation)
        signed = args.edge.origin_certificate(
            f"{name}-origin", request.request_pem, [args.domain], pulumi.ResourceOptions(parent=self)
        )
        client = args.identity.certificate(f"edge/{args.rotation}", client=True)
        shown = args.edge.client_certificate(
            f"{name}-client",
            client.certificate_pem,
            pulumi.Output.secret(client.private_key_pem),
            pulumi.ResourceOptions(parent=self),
        )
        presented = args.edge.present_client_certificate(
            f"{name}-pulls",
            # Without a certificate there would be nothing to present.
            pulumi.ResourceOptions(parent=self, depends_on=[shown]),
        )
        # The edge must be able to trust the members before it insists on it.
        args.edge.harden(name, pulumi.ResourceOptions(parent=self, depends_on=[signed.resource]))
        self.native = signed.resource
        self.certificate = signed.pem
        self.origin = Origin(
            certificate=signed.pem,
            private_key=request.private_key_pem,
            client_authority=args.identity.authority().certificate_pem,
            ready=[presented],
        )
        self.register_outputs({"certificate": self.certificate})


def origin(edge: port.Edge | None, identity: Identity, domain: str, rotation: int) -> Origin:
    """What members need of the edge in front of them, which is made if there is one."""
    if edge is None:
        return without_edge(identity, domain)
    return Edge("edge", EdgeArgs(edge=edge, identity=identity, domain=domain, rotation=rotation)).origin


def without_edge(identity: Identity, domain: str) -> Origin:
    """Members that anyone may visit, with a certificate of the stack's own authority."""
    pair = identity.certificate("web", dns=[domain])
    return Origin(
        certificate=pulumi.Output.from_input(pair.certificate_pem),
        private_key=pair.private_key_pem,
        client_authority="",
        ready=[],
    )
