"""What the gate asks: each check answers None when all is well, or the reason why not (yet)."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.config import DatabaseSettings, MachineConfig, Settings
from fleet.machine import (
    certificate,
    controller,
    failover,
    fence_status,
    manifest,
    mysql,
    places,
    postgresql,
    tunnel,
)
from fleet.machine.host import Clock, Host, MachineError
from fleet.machine.nginx import LOCAL_PORT, visited_name
from fleet.machine.sockets import listening

# A machine made from a plain distribution image installs its packages first; a baked one needs seconds.
CLOUD_INIT_SECONDS: Final = 900.0
SERVICE_SECONDS: Final = 60.0
# A machine that is made boots once, and an operator's restarts are few.
MOST_BOOTS: Final = 4
BOOT_LOOP_SECONDS: Final = 600.0
SITE_UNITS: Final = ("flotilla-app", "nginx")


class BrokenError(Exception):
    """A check failed in a way that waiting does not mend."""


@dataclass(frozen=True, slots=True)
class Check:
    """One named question, how long its answer may take, and whose logs explain a failure."""

    name: str
    ask: Callable[[], str | None]
    seconds: float = SERVICE_SECONDS
    units: Callable[[], Sequence[str]] = tuple


def checks_for(host: Host, clock: Clock, machine: MachineConfig, settings: Settings) -> list[Check]:
    """The gate's questions for a machine, in the order in which a boot makes them true."""

    def idle() -> list[str]:
        return inactive(host, machine.processes)

    common = [
        Check("cloud-init", lambda: cloud_init(host), CLOUD_INIT_SECONDS, lambda: ("cloud-final",)),
        Check("boots", lambda: boots(host, clock), 10, lambda: ("init.scope",)),
        Check("packages", lambda: packages(host), 10, lambda: ("cloud-final",)),
        Check("manifest", lambda: manifest_equal(host, settings), 10, lambda: ("cloud-final",)),
        Check("firewall", lambda: firewall(host), 10, lambda: ("nftables",)),
        Check("processes", lambda: processes(host, machine.processes), units=idle),
        Check("ports", lambda: ports(host, machine.ports), units=idle),
    ]
    if machine.role == "web":
        return [
            *common,
            Check("tls", lambda: tls(host, settings), 15, lambda: ("nginx",)),
            *_arranged(host, settings),
            Check("live", lambda: answers(settings, settings.live_path), units=lambda: SITE_UNITS),
            Check("app", lambda: answers(settings, settings.ready_path), units=lambda: SITE_UNITS),
            Check("fence", lambda: fence(host, clock), 30, lambda: ("flotilla-fence",)),
        ]
    if machine.role == "autoscaler":
        return [
            *common,
            Check("controller", lambda: controller.working(host, clock), units=lambda: (controller.UNIT,)),
        ]
    unit = mysql.UNIT if machine.engine == "mysql" else postgresql.UNIT
    return [*common, Check("database", lambda: database(host, settings.database), units=lambda: (unit,))]


def _arranged(host: Host, settings: Settings) -> list[Check]:
    """What not every member has: peers that stand in for it, and a tunnel to its database."""

    def standing_in() -> str | None:
        return processes(host, failover.UNITS) or ports(host, [failover.PORT])

    checks = []
    if host.path(f"{places.SECRETS}/peer.key").exists():
        checks.append(Check("failover", standing_in, 30, lambda: failover.UNITS))
    database = settings.database
    if database and database.tunnel:
        checks.append(Check("tunnel", lambda: tunnel.sign_of_life(database), 30, lambda: (tunnel.SERVICE,)))
    return checks


def cloud_init(host: Host) -> str | None:
    """Finished, and without an error; a mere warning is none."""
    said = host.run("cloud-init", "status", "--format", "json", timeout=20)
    try:
        status = json.loads(said.output)
    except ValueError:
        return f"cloud-init status gave no answer: {(said.error or said.output).strip()[:300]}"
    if status.get("status") in ("running", "not started", "not run"):
        return f"cloud-init is {status['status']}"
    recoverable = status.get("recoverable_errors", {})
    errors = [*status.get("errors", []), *recoverable.get("ERROR", []), *recoverable.get("CRITICAL", [])]
    if errors:
        raise BrokenError("; ".join(str(error) for error in errors)[:1500])
    if status.get("status") != "done":
        raise BrokenError(f"cloud-init ended as {status.get('status')!r}")
    return None


def boots(host: Host, clock: Clock) -> str | None:
    """The machine stays up: it does not boot again and again."""
    said = host.must("journalctl", "--no-pager", "--list-boots", "--output=json")
    since = clock.wall() - BOOT_LOOP_SECONDS
    try:
        recent = sum(boot["first_entry"] / 1e6 > since for boot in json.loads(said or "[]"))
    except (ValueError, KeyError, TypeError) as error:
        return f"journalctl's list of boots cannot be read: {error!r}"
    if recent > MOST_BOOTS:
        raise BrokenError(f"the machine booted {recent} times in the last {BOOT_LOOP_SECONDS:g} s")
    return None


def packages(host: Host) -> str | None:
    """Every package that the role needs is installed."""
    listed = host.read(places.PACKAGES)
    if listed is None:
        raise BrokenError(f"{places.PACKAGES} is missing; the image was not baked to its end")
    installed = {package.partition(":")[0] for package in manifest.packages(host)}
    missing = sorted(set(listed.split()) - installed)
    if missing:
        raise BrokenError(f"not installed: {', '.join(missing)}")
    return None


def manifest_equal(host: Host, settings: Settings) -> str | None:
    """The machine holds what its image was baked with, and what the stack asks for."""
    try:
        baked = manifest.read(host)
    except MachineError as error:
        raise BrokenError(str(error)) from error
    seen = manifest.observe(host)
    if seen != baked:
        differing = ", ".join(
            f"{key}: {seen[key][:12]} instead of {baked[key][:12]}" for key in seen if seen[key] != baked[key]
        )
        raise BrokenError(f"not as baked ({differing}): something was installed, upgraded or removed since")
    if not baked["digest"].startswith(settings.manifest):
        raise BrokenError(
            f"the image's manifest is {baked['digest']}, the stack asks for {settings.manifest}"
        )
    if settings.release and settings.release != baked["release"]:
        raise BrokenError(
            f"the image holds release {baked['release']!r}, the stack asks for {settings.release!r}"
        )
    return None


def firewall(host: Host) -> str | None:
    """The machine's own packet filter is in force, and drops by default."""
    listed = host.run("nft", "list", "chain", "inet", "flotilla", "input")
    if listed.code:
        return f"no packet filter is loaded: {listed.error.strip()[:300]}"
    return None if "policy drop" in listed.output else "the packet filter lets everything in"


def processes(host: Host, units: Sequence[str]) -> str | None:
    """Every expected unit is active."""
    wrong = inactive(host, units)
    states = host.run("systemctl", "is-active", *wrong).output.split() if wrong else []
    return ", ".join(f"{unit} is {state}" for unit, state in zip(wrong, states, strict=False)) or None


def inactive(host: Host, units: Sequence[str]) -> list[str]:
    """Those of the units that are not active."""
    states = host.run("systemctl", "is-active", *units).output.split()
    if len(states) != len(units):
        raise MachineError("systemctl is-active did not answer for every unit")
    return [unit for unit, state in zip(units, states, strict=True) if state != "active"]


def ports(host: Host, wanted: Sequence[int]) -> str | None:
    """Every expected port listens."""
    missing = sorted(set(wanted) - listening(host))
    return f"nothing listens on port {', '.join(map(str, missing))}" if missing else None


def tls(host: Host, settings: Settings) -> str | None:
    """nginx shows the certificate it was given, valid now and for the site's name."""
    name = visited_name(settings)
    context = _context(host)
    try:
        with (
            socket.create_connection(("127.0.0.1", 443), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            shown = secure.getpeercert(binary_form=True)
    except OSError as error:
        return f"TLS for {name} fails: {error}"
    return None if shown else "nginx shows no certificate"


def answers(settings: Settings, path: str) -> str | None:
    """The site answers a path through nginx with status 200."""
    connection = http.client.HTTPConnection("127.0.0.1", LOCAL_PORT, timeout=10)
    try:
        headers = {"Host": visited_name(settings), "Accept": "application/json"}
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(2000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path} fails: {error!r}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"GET {path} answers {answer.status}: {body[:300]}"


def fence(host: Host, clock: Clock) -> str | None:
    """The fence is watched, and lets visitors in."""
    document = fence_status.read(host, clock.wall())
    if document is None:
        return "nobody watches this member's fence"
    if document.get("state") in ("open", "leaving"):
        return None
    return f"the fence is {document.get('state')}: {document.get('reason')}"


def database(host: Host, settings: DatabaseSettings | None) -> str | None:
    """The site's user can log in by TLS, with the server's certificate checked."""
    if settings is None:
        raise BrokenError("no database settings were received")
    password = host.read(f"{places.SECRETS}/database-password") or ""
    ask = mysql.ask if settings.engine == "mysql" else postgresql.ask
    return ask(host, settings, password)


def _context(host: Host) -> ssl.SSLContext:
    """Trusts exactly the certificate this machine was given, and checks dates and name."""
    given = f"{places.SECRETS}/tls.crt"
    trusted = given if host.path(given).exists() else certificate.CERTIFICATE
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(host.path(trusted)))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
