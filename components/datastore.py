"""The config datastore: a bucket in which the machines say where they are, and a key to it for each role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components import naming
from components.clouds import port
from components.model import Role
from components.site import Site
from fleet import config
from fleet.datastore import RECORDS

# Who publishes its address, or reads those of others.
CLIENTS = (Role.WEB, Role.AUTOSCALER)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreAccess:
    """How one role's machines come in."""

    bucket: port.Bucket
    access_key: pulumi.Output[str]
    secret_key: pulumi.Output[str] = field(repr=False)

    @property
    def ready(self) -> Sequence[pulumi.Resource]:
        """What must have happened before anyone comes."""
        return [self.bucket.resource]

    def outputs(self) -> dict[str, pulumi.Output[Any]]:
        """What `settings` and `secrets` want to know, for pulumi.Output.all."""
        return {
            "store_bucket": self.bucket.name,
            "store_access_key": self.access_key,
            "store_secret_key": self.secret_key,
        }

    def settings(self, known: Mapping[str, Any]) -> config.DatastoreSettings:
        """What a machine is told of it."""
        return config.DatastoreSettings(
            endpoint=self.bucket.endpoint, bucket=known["store_bucket"], region=self.bucket.region
        )

    def secrets(self, known: Mapping[str, Any]) -> dict[str, str]:
        """What a machine opens it with."""
        values = (known["store_access_key"], known["store_secret_key"])
        return dict(zip(config.DATASTORE_SECRETS, values, strict=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class DatastoreArgs:
    """What a datastore is made of."""

    site: Site
    storage: port.Storage
    region: str
    protect: bool
    """Whether deleting the bucket is refused, also when it is empty."""


class Datastore(pulumi.ComponentResource):
    """A versioned bucket that nobody but the stack's machines may read."""

    access: Mapping[Role, DatastoreAccess]
    """For each role that the stack has."""
    bucket: pulumi.Output[str]
    """Its name."""
    native: port.Bucket
    """The bucket itself."""

    def __init__(self, name: str, args: DatastoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("flotilla:index:Datastore", name, None, opts)
        self.native = args.storage.bucket(
            naming.child(name, naming.Common.BUCKET),
            port.BucketSpec(region=args.region, keep_content=args.protect, short_lived=RECORDS),
            pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        self.access = {role: self._access(name, role, args) for role in CLIENTS if role in args.site.roles}
        self.bucket = self.native.name
        self.register_outputs({"bucket": self.bucket})

    def _access(self, name: str, role: Role, args: DatastoreArgs) -> DatastoreAccess:
        key = args.storage.key(f"{name}-{role}", self.native, pulumi.ResourceOptions(parent=self))
        return DatastoreAccess(bucket=self.native, access_key=key.access_key, secret_key=key.secret_key)
