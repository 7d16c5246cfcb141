"""Origin certificates and origin pulls under the real engine: kept, rotated and removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.local_cloud import LocalCloud, local_cloud
from tests.engine.project import Project
from tests.pems import new_key, private_pem, request_pem, self_signed_pem

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

EDGE = """
from pathlib import Path

import pulumi
import pulumi_cloudflare as cloudflare

zone = cloudflare.get_zone(filter={"match": "all", "name": "foobar.com"}).zone_id
origin = cloudflare.OriginCaCertificate(
    "origin", csr=Path("request.pem").read_text(), hostnames=["www.foobar.com"], request_type="origin-ecc"
)
pulls = cloudflare.AuthenticatedOriginPullsCertificate(
    "pulls", zone_id=zone, certificate=Path("client.pem").read_text(), private_key=Path("client.key").read_text()
)
cloudflare.AuthenticatedOriginPullsSettings(
    "switch", zone_id=zone, enabled=True, opts=pulumi.ResourceOptions(depends_on=[pulls])
)
pulumi.export("certificate", origin.certificate)
pulumi.export("pulls", pulls.certificate_id)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with local_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def project(tmp_path: Path, cloud: LocalCloud) -> Project:
    project = Project.create(tmp_path, EDGE, extra=cloud.variables)
    make_keys(project)
    return project


def make_keys(project: Project) -> None:
    key = new_key()
    for name, text in (
        ("request.pem", request_pem(key)),
        ("client.pem", self_signed_pem(key)),
        ("client.key", private_pem(key)),
    ):
        (project.root / name).write_text(text)


def changes(cloud: LocalCloud, project: Project, *arguments: str) -> list[str]:
    """The requests that a run sends to change something, by method and the place below the zone."""
    before = len(cloud.requests())
    project.pulumi(*arguments, "--yes", "--skip-preview")
    return [_short(line) for line in cloud.requests()[before:]]


def _short(line: str) -> str:
    method, path = line.split()
    return f"{method} {path.partition('/zones/')[2].partition('/')[2] or path.removeprefix('/client/v4/')}"


def test_edge_is_kept_rotated_and_removed(cloud: LocalCloud, project: Project) -> None:
    made = changes(cloud, project, "up")
    assert sorted(made) == [
        "POST certificates",
        "POST origin_tls_client_auth",
        "PUT origin_tls_client_auth/settings",
    ]
    assert made.index("POST origin_tls_client_auth") < made.index("PUT origin_tls_client_auth/settings")
    key = (project.root / "client.key").read_text()
    assert json.dumps(key)[1:-1] not in json.dumps(project.state())
    project.pulumi("up", "--yes", "--expect-no-changes")
    project.pulumi("refresh", "--yes")
    project.pulumi("up", "--yes", "--expect-no-changes")

    first = project.outputs()
    make_keys(project)
    rotation = changes(cloud, project, "up")
    second = project.outputs()
    assert second["certificate"] != first["certificate"]
    assert sorted(rotation[:2]) == ["POST certificates", "POST origin_tls_client_auth"]
    assert f"DELETE origin_tls_client_auth/{first['pulls']}" in rotation[2:]
    assert {line.split("/")[0] for line in rotation[2:]} == {
        "DELETE certificates",
        "DELETE origin_tls_client_auth",
    }

    # The switch stays as it is: the zone outlives the stack. A certificate on its way to the edge is asked for again.
    removal = set(changes(cloud, project, "destroy"))
    assert f"DELETE origin_tls_client_auth/{second['pulls']}" in removal
    assert {line.split("/")[0] for line in removal} == {
        "DELETE certificates",
        "DELETE origin_tls_client_auth",
    }
