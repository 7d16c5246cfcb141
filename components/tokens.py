"""The tokens of the controller: its own, which need fewer rights than Pulumi's, or else Pulumi's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from components.contradictions import PROJECT

CLOUD_KEY = "controllerCloudToken"
EDGE_KEY = "controllerEdgeToken"
# What Pulumi's own providers read, when a stack has no token for the controller alone.
PULUMI_CLOUD_KEY = "digitalocean:token"
PULUMI_EDGE_KEY = "cloudflare:apiToken"
CLOUD_VARIABLE = "DIGITALOCEAN_TOKEN"
EDGE_VARIABLE = "CLOUDFLARE_API_TOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What the controller calls the clouds with."""

    cloud: str = field(repr=False)
    edge: str = field(repr=False)
    """Empty where there is no edge."""


def find(config: Mapping[str, str], environment: Mapping[str, str], *, edge: bool) -> Tokens:
    """The tokens of a stack's whole config, empty where there is none; `edge` says whether there is one."""
    cloud = config.get(f"{PROJECT}:{CLOUD_KEY}") or config.get(PULUMI_CLOUD_KEY)
    other = config.get(f"{PROJECT}:{EDGE_KEY}") or config.get(PULUMI_EDGE_KEY)
    return Tokens(
        cloud=cloud or environment.get(CLOUD_VARIABLE, ""),
        edge=(other or environment.get(EDGE_VARIABLE, "")) if edge else "",
    )


def mistakes(tokens: Tokens, *, edge: bool) -> Iterator[str]:
    """What a controller lacks to do its work."""
    needed = [(CLOUD_KEY, CLOUD_VARIABLE, tokens.cloud)]
    if edge:
        needed.append((EDGE_KEY, EDGE_VARIABLE, tokens.edge))
    for key, variable, token in needed:
        if not token:
            yield (
                f"{PROJECT}:{key} is missing: the autoscaler calls the clouds by itself; `pulumi config set --secret "
                f"{PROJECT}:{key}` a token for it, or set {variable} in the environment"
            )
