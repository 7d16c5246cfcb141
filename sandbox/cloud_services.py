"""DigitalOcean's own doors on the sandbox's internet, as its machines find them: the API and object storage."""

from __future__ import annotations

from sandbox.edge.layout import Service
from sandbox.network.plan import CLOUD_API, OBJECT_STORAGE
from sandbox.s3_request import DOMAIN

# https://docs.digitalocean.com/products/spaces/details/availability/
SPACES_REGIONS = (
    *("ams3", "atl1", "blr1", "fra1", "lon1", "mkc1", "nyc3", "ric1", "sfo2", "sfo3", "sgp1", "syd1", "tor1"),
)


def cloud_services(namespace: str, *, api_port: int, storage_port: int) -> tuple[Service, ...]:
    """The services in the network namespace that is the internet; the ports are those on the host's loopback."""
    # A bucket is a name of its own under its region's.
    storage = [host for region in SPACES_REGIONS for host in (f"{region}.{DOMAIN}", f"*.{region}.{DOMAIN}")]
    return (
        # What else listens on that port is the sandbox's own.
        Service(
            name="api.digitalocean.com",
            hosts=("api.digitalocean.com",),
            address=CLOUD_API,
            port=api_port,
            path="/v2/",
            namespace=namespace,
        ),
        Service(
            name=DOMAIN,
            hosts=tuple(storage),
            address=OBJECT_STORAGE,
            port=storage_port,
            namespace=namespace,
        ),
    )
