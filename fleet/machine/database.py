"""What a bundle means for a database machine: its volume, the server on it, one database and one user."""

from __future__ import annotations

from fleet.config import Bundle, DatabaseSettings, MachineConfig
from fleet.machine import certificate, mysql, postgresql, units, volume
from fleet.machine.address import in_network
from fleet.machine.host import Clock, Host, MachineError
from fleet.machine.web import memory_kib


class DatabaseRole:
    """Renders a bundle's files and makes the server follow them."""

    def __init__(self, host: Host, clock: Clock, machine: MachineConfig) -> None:
        self._host = host
        self._clock = clock
        self._machine = machine

    def check(self, bundle: Bundle) -> None:
        """Refuse what the schema cannot see."""
        secrets = bundle.secrets
        problem = certificate.check_pair(
            self._host, secrets["database-server.crt"], secrets["database-server.key"]
        )
        if problem:
            raise MachineError(f"bundle.secrets.database-server.crt and database-server.key: {problem}")
        engine = _database(bundle).engine
        if engine != self._machine.engine:
            raise MachineError(
                f"bundle.settings.database.engine is {engine!r}, but this machine's image is for "
                f"{self._machine.engine!r}; deploy a machine of the other engine"
            )

    def render(self, bundle: Bundle) -> dict[str, str]:
        """Nothing but the bundle itself: the server's configuration lies where the server looks for it."""
        return {}

    def before_switch(self, bundle: Bundle) -> None:
        """The data's place comes first."""
        volume.ensure_mounted(self._host, self._clock, self._machine.volume)

    def verify(self) -> None:
        """The server is its own judge when it starts."""

    def apply(self, bundle: Bundle, changed: frozenset[str]) -> list[str]:
        """Make the server follow the bundle, which is in force now."""
        database, password = _database(bundle), bundle.secrets["database-password"]
        address = in_network(self._host, self._machine.network)
        if database.engine == "mysql":
            configured = mysql.configuration(address, database.port, memory_kib(self._host))
            stale = mysql.prepare(self._host, configured)
            done = self._start(mysql.UNIT, stale or bool(changed))
            mysql.ensure_user(self._host, self._clock, database, self._machine.network, password)
        else:
            configured = postgresql.configuration(address, database.port, memory_kib(self._host))
            rules = postgresql.access(database, self._machine.network)
            stale = postgresql.prepare(self._host, dict(bundle.secrets), configured, rules)
            done = self._start(postgresql.UNIT, stale)
            postgresql.ensure_user(self._host, self._clock, database, password)
        return [done, "database and user there"]

    def _start(self, unit: str, stale: bool) -> str:
        if not stale and units.active(self._host, unit):
            return f"{unit} runs"
        units.act(self._host, "restart", unit, timeout=180)
        return f"{unit} started"


def _database(bundle: Bundle) -> DatabaseSettings:
    if bundle.settings.database is None:
        raise MachineError("bundle.settings.database is missing")
    return bundle.settings.database
