"""What a bundle means for a web member: nginx, the site's application and the edge's addresses."""

from __future__ import annotations

from typing import Final

from fleet.config import Bundle, DatabaseSettings
from fleet.machine import certificate, edge_set, nginx, nginx_process, places, units
from fleet.machine.host import Clock, Host, MachineError, until
from fleet.machine.lame_duck import lame_duck
from fleet.machine.sockets import connections

CREDENTIALS = "/run/credentials/flotilla-app.service"
# A worker of the example site needs 40 MiB; others need more, and nginx and the kernel's cache want some too.
MEMORY_PER_WORKER_KIB: Final = 640 * 1024
# nginx before 1.27.4 cuts idle connections in a reload, and a request may be on its way on one of them. So busy
# connections get this long to be ended properly first (https://nginx.org/en/CHANGES, keepalive_min_timeout).
BEFORE_RELOAD_SECONDS: Final = 10.0


class WebRole:
    """Renders a bundle's files and makes the services follow them."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self._host = host
        self._clock = clock

    def check(self, bundle: Bundle) -> None:
        """Refuse what the schema cannot see: a key of another certificate."""
        if "tls.key" in bundle.secrets:
            problem = certificate.check_pair(self._host, bundle.secrets["tls.crt"], bundle.secrets["tls.key"])
            if problem:
                raise MachineError(f"bundle.secrets.tls.crt and tls.key: {problem}")

    def render(self, bundle: Bundle) -> dict[str, str]:
        """Files of the bundle that follow from it, by their path in the bundle's directory."""
        own = "tls.key" not in bundle.secrets
        files = nginx.render(
            bundle.settings,
            ipv6=self._host.path("/proc/net/if_inet6").exists(),
            certificate=certificate.CERTIFICATE if own else f"{places.SECRETS}/tls.crt",
            key=certificate.KEY if own else f"{places.SECRETS}/tls.key",
        )
        files["nft/edge.nft"] = edge_set.render(bundle.settings.edge_ranges)
        files["app.env"] = self._environment(bundle.settings.database)
        for name in ("database-password", "database-ca.pem"):
            # Present even when empty, as the unit loads both.
            files[f"app/{name}"] = bundle.secrets.get(name, "")
        for name, value in bundle.secrets.items():
            if name.startswith("app-"):
                files[f"app/{name.removeprefix('app-')}"] = value
        return files

    def before_switch(self, bundle: Bundle) -> None:
        """What must exist before the bundle is in force."""
        if "tls.key" not in bundle.secrets:
            certificate.ensure_self_signed(self._host, bundle.settings.server_names)

    def verify(self) -> None:
        """The services' own opinion of the files now in force."""
        self._host.must("nginx", "-t", "-q")
        self._host.must("nft", "--check", "--file", str(self._host.path(f"{places.CURRENT}/nft/edge.nft")))

    def apply(self, bundle: Bundle, changed: frozenset[str]) -> list[str]:
        """Make the services follow the bundle; `changed` names the files that differ from the bundle before."""
        done = []
        self._host.must("nft", "--file", str(self._host.path(f"{places.CURRENT}/nft/edge.nft")))
        if units.active(self._host, "flotilla-app.service"):
            if any(name == "app.env" or name.startswith("app/") for name in changed):
                # The socket stays open and queues, so a restart loses no request.
                # Whether the app comes up is the gate's to judge, and it can say why not.
                self._host.must("systemctl", "restart", "--no-block", "flotilla-app.service")
                done.append("app restarted")
        else:
            units.act(self._host, "start", "flotilla-app.socket")
            self._host.must("systemctl", "start", "--no-block", "flotilla-app.service")
            done.append("app started")
        if units.active(self._host, "nginx.service"):
            if any(name.startswith(("nginx/", "secrets/tls.")) for name in changed):
                self._reload_nginx()
                done.append("nginx reloaded")
        else:
            units.act(self._host, "start", "nginx.service")
            done.append("nginx started")
        return done

    def _reload_nginx(self) -> None:
        with lame_duck(self._host):
            until(self._no_connections, timeout=BEFORE_RELOAD_SECONDS, clock=self._clock)
            nginx_process.reload(self._host, self._clock)

    def _no_connections(self) -> bool | None:
        return True if connections(self._host, 443) == 0 else None

    def _environment(self, database: DatabaseSettings | None) -> str:
        values = {"WEB_CONCURRENCY": str(self._workers())}
        if database:
            values |= {
                "DATABASE_ENGINE": database.engine,
                "DATABASE_HOST": database.host,
                "DATABASE_PORT": str(database.port),
                "DATABASE_NAME": database.name,
                "DATABASE_USER": database.user,
                "DATABASE_PASSWORD_FILE": f"{CREDENTIALS}/app_database-password",
                "DATABASE_CA_FILE": f"{CREDENTIALS}/app_database-ca.pem",
            }
        return "".join(f"{name}={value}\n" for name, value in values.items())

    def _workers(self) -> int:
        cpus = (self._host.read("/proc/cpuinfo") or "").count("processor\t")
        return max(1, min(cpus, memory_kib(self._host) // MEMORY_PER_WORKER_KIB))


def memory_kib(host: Host) -> int:
    """All the machine's memory, in KiB."""
    for line in (host.read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    raise MachineError("/proc/meminfo has no MemTotal")
