"""Where the site finds its database, whoever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from components.model import Engine
from fleet import config

# The site's own database; nobody else shares the server.
DATABASE_NAME = "site"


@dataclass(frozen=True, slots=True, kw_only=True)
class Administrator:
    """Who may give the site's user its rights, where the cloud gives it others."""

    name: pulumi.Output[str]
    password: pulumi.Output[str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseEndpoint:
    """How the site connects. `ready` is what must have happened before anyone does."""

    engine: Engine
    host: pulumi.Output[str]
    """Address or name, which the server's certificate carries."""
    port: pulumi.Output[int]
    name: str
    user: str
    password: pulumi.Output[str] = field(repr=False)
    authority: pulumi.Output[str]
    """PEM; what the server's certificate must be signed by."""
    ready: Sequence[pulumi.Resource]
    tunnel: config.TunnelSettings | None = None
    """The gateway that members come through; None when they connect directly."""
    administrator: Administrator | None = None
    """None where the user has its rights already."""

    def rights(self) -> pulumi.Output[str] | None:
        """What fleet/database_rights.py reads on a machine that the database trusts; secret."""
        if self.administrator is None:
            return None
        return pulumi.Output.secret(
            pulumi.Output.json_dumps(
                {
                    "engine": self.engine,
                    "host": self.host,
                    "port": self.port.apply(int),
                    "database": self.name,
                    "authority": self.authority,
                    "administrator": {
                        "name": self.administrator.name,
                        "password": self.administrator.password,
                    },
                    "user": {"name": self.user, "password": self.password},
                }
            )
        )

    def public(self) -> pulumi.Output[dict[str, str | int]]:
        """What a stack's output may tell of it."""
        return pulumi.Output.all(self.host, self.port).apply(
            lambda known: {"host": known[0], "port": known[1], "engine": self.engine}
        )
