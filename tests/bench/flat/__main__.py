"""The resources of a Flotilla stack without Flotilla: what anyone would write by hand, in one file."""

import pulumi
import pulumi_cloudflare as cloudflare
import pulumi_digitalocean as digitalocean
from pulumi_command import local, remote

COUNT = pulumi.Config().require_int("count")
ZONE = "foobar.dev"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDDpIOefpM1R1Lqh2KpCN1mWXe6bPZ0C8C6Zc3rn7Z2J web"
PRIVATE_KEY = pulumi.Output.secret("k" * 400)
# As large as a rendered payload.
USER_DATA = pulumi.Output.secret("#cloud-config\n" + "x" * 6000)
BUNDLE = pulumi.Output.secret("b" * 6000)

ranges = cloudflare.get_ip_ranges()
zone = cloudflare.get_zone(filter={"name": ZONE, "match": "all"})
names = ("dev", "dev-web", "dev-database")
tags = {name: digitalocean.Tag(f"tag-{name}", name=name) for name in names}
key = digitalocean.SshKey("deploy-key", public_key=HOST_KEY)
network = digitalocean.Vpc("network", region="lon1", ip_range="10.20.0.0/20")


def firewall(role: str, port: int, addresses: list[str]) -> digitalocean.Firewall:
    return digitalocean.Firewall(
        f"firewall-{role}",
        tags=[tags[f"dev-{role}"].name],
        inbound_rules=[
            {
                "protocol": "tcp",
                "port_range": "22",
                "source_addresses": ["203.0.113.7/32"],
                "source_tags": [tags["dev"].name],
            },
            {"protocol": "tcp", "port_range": str(port), "source_addresses": addresses},
        ],
        outbound_rules=[
            {"protocol": protocol, "port_range": "all", "destination_addresses": ["0.0.0.0/0", "::/0"]}
            for protocol in ("tcp", "udp")
        ],
    )


def machine(
    name: str, role: str, wall: digitalocean.Firewall, volumes: list[pulumi.Input[str]] | None = None
) -> tuple[digitalocean.Droplet, remote.Command]:
    droplet = digitalocean.Droplet(
        name,
        image="debian-13-x64",
        region="lon1",
        size="s-1vcpu-1gb",
        vpc_uuid=network.id,
        ssh_keys=[key.fingerprint],
        monitoring=True,
        user_data=USER_DATA,
        volume_ids=volumes,
        tags=[tags["dev"].name, tags[f"dev-{role}"].name],
        opts=pulumi.ResourceOptions(depends_on=[wall]),
    )
    connection = remote.ConnectionArgs(
        host=droplet.ipv4_address, user="root", private_key=PRIVATE_KEY, host_key=HOST_KEY
    )
    secrets = remote.Command(
        f"{name}-secrets", connection=connection, create="receive", stdin=BUNDLE, triggers=[droplet.id]
    )
    gate = remote.Command(
        f"{name}-gate",
        connection=connection,
        create="gate",
        triggers=[droplet.id],
        opts=pulumi.ResourceOptions(depends_on=[secrets]),
    )
    return droplet, gate


volume = digitalocean.Volume("database-1-data", region="lon1", size=1)
wall = firewall("database", 3306, ["10.20.0.0/20"])
machine("database-1", "database", wall, [volume.id])
wall = firewall("web", 443, [*ranges.ipv4_cidrs, *ranges.ipv6_cidrs])
signed = cloudflare.OriginCaCertificate(
    "edge-origin", csr="request", hostnames=["www.foobar.dev"], request_type="origin-ecc"
)
client = cloudflare.AuthenticatedOriginPullsCertificate(
    "edge-client", zone_id=zone.zone_id, certificate="certificate", private_key=PRIVATE_KEY
)
cloudflare.AuthenticatedOriginPullsSettings(
    "edge-pulls", zone_id=zone.zone_id, enabled=True, opts=pulumi.ResourceOptions(depends_on=[client])
)
for setting, value in (("ssl", "strict"), ("min_tls_version", "1.2"), ("always_use_https", "on")):
    cloudflare.ZoneSetting(f"edge-{setting}", zone_id=zone.zone_id, setting_id=setting, value=value)

droplets: list[digitalocean.Droplet] = []
drains: list[pulumi.Resource] = []
for number in range(1, COUNT + 1):
    droplet, gate = machine(f"web-{number}", "web", wall)
    droplets.append(droplet)
    drains.append(
        local.Command(
            f"web-{number}-drain",
            delete="drain",
            environment={"HOST": droplet.ipv4_address, "KEY": PRIVATE_KEY},
            triggers=[droplet.id],
            opts=pulumi.ResourceOptions(depends_on=[gate]),
        )
    )
previous: pulumi.Resource = local.Command(
    "web-peers",
    create="peers",
    stdin=PRIVATE_KEY,
    triggers=[droplet.id for droplet in droplets],
    opts=pulumi.ResourceOptions(depends_on=drains),
)
for number, (droplet, drain) in enumerate(zip(droplets, drains, strict=True), start=1):
    previous = cloudflare.DnsRecord(
        f"web-{number}-dns",
        zone_id=zone.zone_id,
        name="www.foobar.dev",
        type="A",
        content=droplet.ipv4_address,
        ttl=1,
        proxied=True,
        opts=pulumi.ResourceOptions(depends_on=[drain, previous]),
    )
    if number == 1 and COUNT > 1:
        previous = local.Command(
            "web-canary",
            create="canary",
            environment={"KEY": PRIVATE_KEY},
            triggers=[droplet.id],
            opts=pulumi.ResourceOptions(depends_on=[previous]),
        )
