"""What is run on a machine over SSH, as root: the one place that knows the command lines."""

from __future__ import annotations

import base64
import ipaddress
import json
import shlex
from pathlib import Path
from typing import Final

RECEIVE_PROGRAM: Final = "/usr/local/sbin/flotilla-receive"
GATE: Final = "/usr/local/sbin/flotilla-gate"
INSTALLER: Final = "/usr/local/lib/flotilla/install"
FENCE: Final = "/usr/local/sbin/flotilla-fence"
FENCE_STATUS: Final = f"{FENCE} status --json"
FENCE_RELEASE: Final = f"{FENCE} release"

# Standard input: {"peers": {slot: private address}}.
PEERS: Final = "/usr/local/sbin/flotilla-peers"

DATASTORE: Final = "/usr/local/sbin/flotilla-datastore"
SEAL_CREDENTIAL: Final = f"{DATASTORE} put-db-credential"

# How `fleet drain` is told the machine and the keys: never by argument, which any local user could read.
HOST_VARIABLE: Final = "FLOTILLA_HOST"
HOST_KEY_VARIABLE: Final = "FLOTILLA_HOST_KEY"
DEPLOY_KEY_VARIABLE: Final = "FLOTILLA_DEPLOY_KEY"
# How `fleet canary` is told the stack's seed and the cloud's token, for the same reason.
SEED_VARIABLE: Final = "FLOTILLA_SEED"
CLOUD_TOKEN_VARIABLE: Final = "DIGITALOCEAN_TOKEN"  # noqa: S105 - the name of a variable

# First boot first: its packages and files are what everything else needs. A boot that failed tells why.
_BOOTED: Final = (
    "cloud-init status --wait </dev/null >/dev/null 2>&1; s=$?; "
    "if [ $s = 1 ]; then cloud-init status --long </dev/null >&2; "
    "tail -n 30 /var/log/cloud-init-output.log >&2; exit 1; fi; "
)

# Standard input: the bundle (fleet.config.Bundle.to_json).
RECEIVE: Final = _BOOTED + f"exec {RECEIVE_PROGRAM}"

# Standard input: an image's archive (cloudinit.roles.<role>.archive). The last line printed is the manifest, JSON.
INSTALL: Final = (
    _BOOTED
    + "rm -rf /opt/flotilla; "
    + "python3 -c \"import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|xz').extractall('/', filter='tar')\""
    + f" && exec {INSTALLER}"
)

# Standard input: `delivery`. For a machine that started from a plain distribution: its files and its bundle in one go.
INSTALL_AND_RECEIVE: Final = (
    _BOOTED
    + "exec python3 -c '"
    + "import base64, io, json, subprocess, sys, tarfile\n"
    + "given = json.load(sys.stdin)\n"
    + 'archive = io.BytesIO(base64.b64decode(given["archive"]))\n'
    + 'tarfile.open(fileobj=archive, mode="r:xz").extractall("/", filter="tar")\n'
    + f'subprocess.run(["{INSTALLER}"], check=True)\n'
    + f'done = subprocess.run(["{RECEIVE_PROGRAM}"], input=given["bundle"].encode())\n'
    + "sys.exit(done.returncode)'"
)


def grant_rights() -> str:
    """Standard input and what it does: fleet/database_rights.py, which is handed over whole."""
    program = Path(__file__).with_name("database_rights.py").read_text(encoding="utf-8")
    return _BOOTED + f"exec python3 -c {shlex.quote(program)}"


def delivery(archive: bytes, bundle: str) -> str:
    """Standard input of INSTALL_AND_RECEIVE."""
    return json.dumps({"archive": base64.b64encode(archive).decode(), "bundle": bundle})


def drain(*, propagation: float, quiet: float, cap: float) -> str:
    """The drain of a web member; all in seconds, see fleet/machine/drain.py."""
    return f"/usr/local/sbin/flotilla-drain --propagation {propagation:g} --quiet {quiet:g} --cap {cap:g}"


def fence_hold(reason: str) -> str:
    """Close a web member to visitors until it is released."""
    return f"{FENCE} hold --reason {shlex.quote(reason)}"


def db_credential(field: str) -> str:
    """Opens the database's credential on a member; all of it as JSON when no field is named."""
    return f"{DATASTORE} get-db-credential" + (f" --field {shlex.quote(field)}" if field else "")


def ready(address: str) -> str:
    """Ends well when the member with this private address says that it can serve, database included."""
    url = f"http://{ipaddress.ip_address(address)}:8101/ready"
    return f"python3 -c 'import urllib.request; urllib.request.urlopen(\"{url}\", timeout=3)'"


def reaches(address: str) -> str:
    """Ends well when the member with this private address tells the machine that asks how it is."""
    url = f"http://{ipaddress.ip_address(address)}:8101/status"
    return f"python3 -c 'import urllib.request; urllib.request.urlopen(\"{url}\", timeout=2)'"
