"""What the sandbox serves, as the page that `python -m sandbox coverage` prints and docs/coverage.md keeps."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.api.digitalocean.routes import ENDPOINTS
from sandbox.cloudflare.app import ROUTES
from sandbox.cloudflare.zone_settings import CATALOGUE
from sandbox.providers.package import Package
from sandbox.providers.serve import PACKAGES

_HEAD = """# What the local cloud has

Made by `python -m sandbox coverage`; a test holds this page against the code. Whatever is not here is refused by name.
"""

_DATABASES = """
## Managed databases

With real machines every node is a machine: MariaDB 11.8 for `mysql`, PostgreSQL 17 for `pg`, whatever version was asked
for. They speak TLS only, with certificates of the cluster's own authority; the packet filter lets in the trusted
sources; the cluster's names follow its primary. One node serves from the cluster's volume. When it dies a standby takes
the volume over, so nothing committed is lost, and the dead node stands by again; the volume, and with it the primary,
also moves when size or disk changes. A node takes as many connections as one of its size does. Not there: reading from
standbys, read-only nodes, backups and forks, connection pools, `sql_require_primary_key`, MySQL's
`caching_sha2_password` (every user gets the native plugin), and a filter on MySQL's own tables. As in the real service
a new MySQL user may what `doadmin` may, and a new PostgreSQL user next to nothing. `python -m sandbox fault` cuts the
primary's power or pulls the cables. The image of the nodes is made at the first cluster on a host (under a minute), or
before by `python -m sandbox.machines build-image managed-database`."""

_STORAGE = """
## Object storage

S3 by moto, with versions, conditional writes and uploads in parts. Signature Version 4 is checked, in headers and in
presigned URLs, and so are the grants of keys: `read` lists and fetches, `readwrite` also puts and deletes objects,
`fullaccess` also makes and sets up buckets. A bucket is known in its own region only. `If-Match` of a write takes the
ETag without its quotes, as DigitalOcean does. Machines reach it as `https://<region>.digitaloceanspaces.com`. Not there:
Signature Version 2, bodies signed in pieces, requests without a key; lifecycle rules are kept and shown, but nothing
expires. `POST /_sandbox/spaces/fault` with `{"kind": "stop"}` takes all of it away, `heal` brings it back.

## Tokens

The tokens that `python -m sandbox env` tells may everything. Others, with less, are made behind the control token, as a
customer makes them in the clouds' panels: `POST /_sandbox/tokens` with `{"scopes": ["droplet:read"]}` for DigitalOcean,
`POST /_sandbox/edge/tokens` with `{"permissions": ["DNS Write"], "zones": ["foobar.com"]}` for Cloudflare; `DELETE` with
`{"token": "..."}` revokes one. What a token may not is answered as the clouds answer it, with 403."""


def page() -> str:
    """The page, in Markdown."""
    digitalocean = sorted({(endpoint.path, endpoint.method) for endpoint in ENDPOINTS})
    cloudflare = sorted((f"/client/v4{path}", method) for method, path in ROUTES)
    settings = [name for name, setting in CATALOGUE.items() if setting.effective]
    shown = [name for name, setting in CATALOGUE.items() if not setting.effective]
    return "\n".join(
        [
            _HEAD,
            "## DigitalOcean API v2\n",
            *_routes(digitalocean),
            "\n## Cloudflare API v4\n",
            *_routes(cloudflare),
            f"\nZone settings with their effect on requests: {_names(settings)}. Shown, but kept at their default: "
            f"{_names(shown)}.",
            _DATABASES,
            _STORAGE,
            "\n## Pulumi providers for engines without the official plugins\n",
            *(line for package in PACKAGES for line in _package(package)),
            "",
        ]
    )


def _routes(routes: Iterable[tuple[str, str]]) -> Iterable[str]:
    """A line per path with its methods."""
    methods: dict[str, list[str]] = {}
    for path, method in routes:
        methods.setdefault(path, []).append(method)
    yield "| path | methods |"
    yield "|---|---|"
    for path, known in methods.items():
        yield f"| `{path}` | {', '.join(known)} |"


def _package(package: Package) -> Iterable[str]:
    yield f"- **{package.name}** {package.version}: resources {_names(_short(package.resources))}"
    if package.functions:
        yield f"  functions {_names(_short(package.functions))}"


def _short(tokens: Iterable[str]) -> list[str]:
    return sorted(token.rpartition(":")[2] for token in tokens)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
