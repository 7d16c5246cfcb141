"""A bucket and a role's key under the real engine: what is kept, what is changed in place, what stays secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # ships no types
import botocore.exceptions  # type: ignore[import-untyped]
import pytest

from tests.engine.local_cloud import LocalCloud, local_cloud
from tests.engine.project import Project

pytestmark = pytest.mark.engine

PROGRAM = """
import pulumi
import pulumi_digitalocean as digitalocean

bucket = digitalocean.SpacesBucket(
    "datastore",
    region="lon1",
    acl="private",
    versioning={{"enabled": True}},
    force_destroy=True,
    lifecycle_rules=[{{"enabled": True, "noncurrent_version_expiration": {{"days": 7}}}}],
)
grant = {{"bucket": bucket.name, "permission": "{permission}"}}
key = digitalocean.SpacesKey("datastore-web", grants=[grant])
for name in ("name", "region", "endpoint"):
    pulumi.export(name, getattr(bucket, name))
pulumi.export("access", key.access_key)
pulumi.export("secret", key.secret_key)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with local_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


def client(cloud: LocalCloud, key: str, secret: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=cloud.variables["SPACES_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def test_a_datastore_lives_and_goes_with_its_stack(cloud: LocalCloud, tmp_path: Path) -> None:
    project = Project.create(tmp_path, PROGRAM.format(permission="readwrite"), extra=cloud.variables)
    project.pulumi("up", "--yes", "--skip-preview")
    made = project.outputs()
    assert (made["region"], made["endpoint"]) == ("lon1", "lon1.digitaloceanspaces.com")
    assert made["secret"] not in json.dumps(project.state())
    role = client(cloud, made["access"], made["secret"])
    for content in (b"1", b"2"):
        role.put_object(Bucket=made["name"], Key="ips/web/web-1", Body=content)

    project.pulumi("up", "--yes", "--refresh", "--expect-no-changes")
    assert made["secret"] not in json.dumps(project.state())

    project.write(PROGRAM.format(permission="read"))
    project.pulumi("up", "--yes", "--skip-preview")
    assert project.outputs() == made
    assert role.get_object(Bucket=made["name"], Key="ips/web/web-1")["Body"].read() == b"2"
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        role.put_object(Bucket=made["name"], Key="ips/web/web-1", Body=b"3")

    project.pulumi("destroy", "--yes", "--skip-preview")
    told = cloud.variables
    owner = client(cloud, told["SPACES_ACCESS_KEY_ID"], told["SPACES_SECRET_ACCESS_KEY"])
    assert owner.list_buckets()["Buckets"] == []
    assert cloud.list("spaces/keys", "keys") == []
