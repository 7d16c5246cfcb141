"""Cloudflare behind the edge port; the only module that knows its SDK, whose import takes over a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pulumi
import pulumi_cloudflare as cloudflare

from components.clouds import port

# 1 stands for "automatic", the only value a proxied record may have.
# https://developers.cloudflare.com/dns/manage-dns-records/reference/ttl/
AUTOMATIC_TTL = 1

# Days; the longest that Origin CA signs for. https://developers.cloudflare.com/ssl/origin-configuration/origin-ca/
ORIGIN_VALIDITY_DAYS = 5475

# What a zone must do with visitors, by the ends of the resources' names.
# https://developers.cloudflare.com/api/resources/zones/subresources/settings/
_HARDENED = {
    "strict-tls": ("ssl", "strict"),
    "min-tls": ("min_tls_version", "1.2"),
    "https": ("always_use_https", "on"),
}

# https://developers.cloudflare.com/api/resources/origin_tls_client_auth/
_SHOWN = frozenset({"initializing", "pending_deployment", "active"})

_T = TypeVar("_T")


class CloudflareLookups:
    """What Cloudflare says about a zone and about itself."""

    def __init__(self, zone: str) -> None:
        self._zone = zone

    def zone_id(self) -> str:
        """The zone's id; zones of one name exist twice while one moves between accounts, then nothing is guessed."""
        found = _ask(f"zone {self._zone}", lambda: cloudflare.get_zones(name=self._zone, max_items=2)).results
        if len(found) != 1:
            raise port.LookupFailedError(
                f"the Cloudflare token sees {len(found)} zones named {self._zone} instead of one; "
                "add the zone to the account, or let the token read it"
            )
        return str(found[0].id)

    def client_certificates(self, zone_id: str) -> Sequence[str]:
        """Those for authenticated origin pulls of the whole zone."""
        answer = _ask(
            f"client certificates of zone {self._zone}",
            lambda: cloudflare.get_authenticated_origin_pulls_certificates(zone_id=zone_id),
        )
        return [found.certificate for found in answer.results if found.status in _SHOWN]

    def ranges(self) -> Sequence[str]:
        """IPv4 and IPv6 together."""
        answer = _ask("address ranges", cloudflare.get_ip_ranges)
        return [*(answer.ipv4_cidrs or ()), *(answer.ipv6_cidrs or ())]


class CloudflareDns:
    """One site in a zone, its records proxied."""

    def __init__(self, zone_id: str, domain: str) -> None:
        self._zone_id = zone_id
        self._domain = domain

    def record(
        self, name: str, address: port.Address, comment: str, opts: pulumi.ResourceOptions
    ) -> cloudflare.DnsRecord:
        """A proxied record; its comment is how controllers find it."""
        return cloudflare.DnsRecord(
            name,
            zone_id=self._zone_id,
            name=self._domain,
            type=port.tied(address.record_type, address.text),
            content=address.text,
            ttl=AUTOMATIC_TTL,
            proxied=True,
            comment=comment,
            opts=port.leaving_first(opts),
        )


class CloudflareEdge:
    """One zone: Origin CA for its members, authenticated origin pulls, and its settings."""

    def __init__(self, zone_id: str) -> None:
        self._zone_id = zone_id

    def origin_certificate(
        self, name: str, request: str, hosts: Sequence[str], opts: pulumi.ResourceOptions
    ) -> port.OriginCertificate:
        """Signed by Origin CA, which only Cloudflare trusts."""
        signed = cloudflare.OriginCaCertificate(
            name,
            csr=request,
            hostnames=list(hosts),
            request_type="origin-ecc",
            requested_validity=ORIGIN_VALIDITY_DAYS,
            opts=opts,
        )
        return port.OriginCertificate(resource=signed, pem=signed.certificate)

    def client_certificate(
        self, name: str, certificate: str, private_key: pulumi.Input[str], opts: pulumi.ResourceOptions
    ) -> cloudflare.AuthenticatedOriginPullsCertificate:
        """Uploaded for the whole zone; an older one stays in use until this one is deployed."""
        return cloudflare.AuthenticatedOriginPullsCertificate(
            name, zone_id=self._zone_id, certificate=certificate, private_key=private_key, opts=opts
        )

    def present_client_certificate(
        self, name: str, opts: pulumi.ResourceOptions
    ) -> cloudflare.AuthenticatedOriginPullsSettings:
        """Authenticated origin pulls of the whole zone."""
        return cloudflare.AuthenticatedOriginPullsSettings(
            name, zone_id=self._zone_id, enabled=True, opts=opts
        )

    def harden(self, name: str, opts: pulumi.ResourceOptions) -> Sequence[cloudflare.ZoneSetting]:
        """Three settings of the zone; they stay as they are when the stack goes."""
        return [
            cloudflare.ZoneSetting(
                f"{name}-{end}", zone_id=self._zone_id, setting_id=setting, value=value, opts=opts
            )
            for end, (setting, value) in _HARDENED.items()
        ]


def _ask(what: str, lookup: Callable[[], _T]) -> _T:
    try:
        return lookup()
    except pulumi.RunError:
        raise  # the engine is stopping and has said why
    except Exception as error:  # the SDK raises nothing narrower
        raise port.LookupFailedError(
            f"Cloudflare did not tell its {what}: {error}; check CLOUDFLARE_API_TOKEN, and that the API answers "
            "(CLOUDFLARE_BASE_URL if that is set)"
        ) from error
