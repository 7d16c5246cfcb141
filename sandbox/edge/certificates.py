"""The certificate files that HAProxy reads: what visitors meet, what origins are shown, and whom the edge trusts."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.x509.oid import ExtendedKeyUsageOID

from sandbox.edge.authority import EdgeAuthority, write_private
from sandbox.edge.haproxy_config import certificate_list
from sandbox.edge.layout import API_HOST, EdgeLayout
from sandbox.edge.state import EdgeState

# https://developers.cloudflare.com/ssl/origin-configuration/authenticated-origin-pull/set-up/global/
_SHARED_NAME = "origin-pull.cloudflare.net"


class EdgeCertificates:
    """All certificate files of an edge; those named after their content are never changed, only made and removed."""

    def __init__(self, layout: EdgeLayout) -> None:
        self._layout = layout
        self._authority = EdgeAuthority(layout.directory)
        self._shared = EdgeAuthority(layout.shared_client_certificate.parent, _SHARED_NAME)
        self.visitors_trust = self._authority.certificate_file
        """The authority of the certificates that visitors meet: `curl --cacert`."""
        self.shared_client_authority = self._shared.certificate_file
        """The authority of the client certificate that all of Cloudflare's customers share."""

    def ensure(self) -> None:
        self._authority.ensure()
        self._shared.ensure()
        for directory in (self._layout.clients, self._layout.authorities):
            directory.mkdir(exist_ok=True, mode=0o700)

    def write(self, views: Mapping[str, EdgeState]) -> bool:
        """Have every file that a configuration of these views names; true when a running process must read again."""
        layout = self._layout
        zones = [zone for state in views.values() for zone in state.zones]
        names = {zone.name: [zone.name, f"*.{zone.name}"] for zone in zones}
        if layout.api_port is not None:
            names[API_HOST] = [API_HOST]
        names |= {service.name: list(service.hosts) for service in layout.services}
        renewed = [
            self._authority.issue(layout.visitors_certificate(name), names[name]) for name in sorted(names)
        ]
        renewed.append(
            self._shared.issue(
                layout.shared_client_certificate, [_SHARED_NAME], ExtendedKeyUsageOID.CLIENT_AUTH
            )
        )
        for zone in zones:
            if zone.client_certificate:
                write_private(layout.client_certificate(zone), zone.client_certificate.encode())
        for state in views.values():
            trusted = [*state.origin_roots, self.visitors_trust.read_text()]
            write_private(layout.origin_authorities(state), "".join(trusted).encode())
        for point in layout.points:
            text = certificate_list(layout, views[point.city])
            write_private(layout.certificate_list(point), text.encode())
        return any(renewed)

    def sweep(self, views: Mapping[str, EdgeState]) -> None:
        """Remove the keys and authorities that no view names any more."""
        kept = {self._layout.origin_authorities(state) for state in views.values()}
        kept |= {self._layout.client_certificate(zone) for state in views.values() for zone in state.zones}
        for directory in (self._layout.clients, self._layout.authorities):
            for file in directory.iterdir():
                if file not in kept:
                    file.unlink()
