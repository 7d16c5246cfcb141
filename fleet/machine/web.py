"""What a bundle means for a web member: nginx, the site's application and the edge's addresses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from fleet.config import Bundle, DatabaseSettings, MachineConfig
from fleet.machine import certificate, edge_set, failover, nginx, nginx_process, places, tunnel, units
from fleet.machine.host import Clock, Host, MachineError

GUARDS: Final = ("flotilla-fence.service", "flotilla-edge-ranges.timer")
EDGE_RANGES: Final = "edge/ranges.json"  # what this bundle says; a later list may be in force
CREDENTIALS = "/run/credentials/flotilla-app.service"
# A worker of the example site needs 40 MiB; others need more, and nginx and the kernel's cache want some too.
MEMORY_PER_WORKER_KIB: Final = 640 * 1024


class WebRole:
    """Renders a bundle's files and makes the services follow them."""

    def __init__(self, host: Host, clock: Clock, machine: MachineConfig) -> None:
        self._host = host
        self._clock = clock
        self._network = machine.network

    def check(self, bundle: Bundle) -> None:
        """Refuse what the schema cannot see: a key of another certificate."""
        secrets = bundle.secrets
        for pair in ("tls", "peer"):
            if f"{pair}.key" in secrets:
                problem = certificate.check_pair(self._host, secrets[f"{pair}.crt"], secrets[f"{pair}.key"])
                if problem:
                    raise MachineError(f"bundle.secrets.{pair}.crt and {pair}.key: {problem}")

    def render(self, bundle: Bundle) -> dict[str, str]:
        """Files of the bundle that follow from it, by their path in the bundle's directory."""
        own = "tls.key" not in bundle.secrets
        files = nginx.render(
            bundle.settings,
            network=self._network,
            ipv6=self._host.path("/proc/net/if_inet6").exists(),
            certificate=certificate.CERTIFICATE if own else nginx.FROM_FILE,
            key=certificate.KEY if own else nginx.FROM_FILE,
            with_peers="peer.key" in bundle.secrets,
        )
        files |= tunnel.render(bundle.settings.database)
        files[EDGE_RANGES] = json.dumps(bundle.settings.edge_ranges) + "\n"
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

    def apply(self, bundle: Bundle, changed: frozenset[str]) -> list[str]:
        """Make the services follow the bundle; `changed` names the files that differ from the bundle before."""
        done = []
        ranges = bundle.settings.edge_ranges
        new_ranges = EDGE_RANGES in changed or edge_set.load(self._host) is None
        if new_ranges:
            edge_set.lay(self._host, ranges)
        self._host.must("nft", "--file", str(self._host.path(edge_set.RULES)))
        done += tunnel.follow(self._host, bundle.settings, changed)
        if units.active(self._host, "flotilla-app.service"):
            if any(name == "app.env" or name.startswith("app/") for name in changed):
                # The socket stays open and queues, so a restart loses no request.
                # Whether the app comes up is the gate's to judge, and it can say why not.
                self._excuse()
                self._host.must("systemctl", "restart", "--no-block", "flotilla-app.service")
                done.append("app restarted")
        else:
            units.act(self._host, "start", "flotilla-app.socket")
            self._host.must("systemctl", "start", "--no-block", "flotilla-app.service")
            done.append("app started")
        new_pair = any(name.startswith("secrets/peer") for name in changed)
        done += failover.follow(self._host, wanted="peer.key" in bundle.secrets, changed=new_pair)
        if self._lay_certificate(bundle.secrets):
            done.append("certificate laid")
        if units.active(self._host, "nginx.service"):
            if any(name.startswith(("nginx/", "edge/")) for name in changed):
                nginx_process.reload_gently(self._host, self._clock)
                done.append("nginx reloaded")
        else:
            units.act(self._host, "start", "nginx.service")
            done.append("nginx started")
        if new_ranges:
            edge_set.settle(self._host, ranges)
        for unit in GUARDS:
            if not units.active(self._host, unit):
                units.act(self._host, "start", unit)
                done.append(f"{unit} started")
        return done

    def _excuse(self) -> None:
        """Requests wait in the socket meanwhile, which is no reason for the fence to close."""
        path = self._host.path(places.FENCE_EXCUSE)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o644)

    def _lay_certificate(self, secrets: Mapping[str, str]) -> bool:
        """What nginx shows from the next handshake on; True when it is another than before. The directory's group,
        nginx's, is the file's."""
        if "tls.key" not in secrets:
            self._host.path(places.SITE_CERTIFICATE).unlink(missing_ok=True)
            return False
        both = f"{secrets['tls.crt'].rstrip()}\n{secrets['tls.key'].rstrip()}\n"
        if self._host.read(places.SITE_CERTIFICATE) == both:
            return False
        self._host.write(places.SITE_CERTIFICATE, both, 0o640)
        return True

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
