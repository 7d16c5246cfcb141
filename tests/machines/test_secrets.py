"""No secret of the stack where it does not belong, and the metadata service closed to all but root."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from components.database_tier import PASSWORD_PURPOSE
from fleet.identity import PEER_NAME
from fleet.machine import places as machine_places
from tests.leaks import Secrets
from tests.live_stack import LiveStack

pytestmark = [pytest.mark.machines, pytest.mark.timeout(300)]

SLOTS = ("web-1", "database-1")
# Also of machines that are gone by now: their traces are searched as well.
ALL_SLOTS = ("web-1", "web-2", "web-3", "database-1")
PASSWORD = f"password {PASSWORD_PURPOSE}"
HOST_KEYS = frozenset(f"host key {slot}" for slot in ALL_SLOTS)


@pytest.fixture(scope="module")
def secrets(stack: LiveStack) -> Secrets:
    certificates = ("web", "database-1", PEER_NAME)
    return Secrets.of(stack.setting("seed"), ALL_SLOTS, certificates, [PASSWORD_PURPOSE], [1])


@pytest.fixture(scope="module")
def places(stack: LiveStack) -> dict[str, bytes]:
    """Everything that is searched, but for the images."""
    return {
        **on_the_desk(stack),
        **{place: data for slot in SLOTS for place, data in on(stack, slot).items()},
    }


def on_the_desk(stack: LiveStack) -> dict[str, bytes]:
    """What Pulumi and the cloud keep and say."""
    home = stack.sandbox.home
    return {
        "plain state": stack.pulumi("stack", "export").encode(),
        "state, history and backups": tree(home / "pulumi-state"),
        "project": tree(stack.directory),
        "output of up": "\n".join(stack.printed).encode(),
        "arguments": b"\n".join(stack.arguments),
        "sandbox's log": (home / "daemon.log").read_bytes(),
        "requests": json.dumps(stack.sandbox.requests()).encode(),
    }


def differences(stack: LiveStack) -> str:
    """All that a preview shows of new machines and of a replaced one."""
    stack.configure("web.count", 2)
    try:
        return stack.pulumi("preview", "--diff", "--replace", stack.urn("database-1"))
    finally:
        stack.configure("web.count", 1)


def on(stack: LiveStack, slot: str) -> dict[str, bytes]:
    """What a machine tells about itself, by the place where it does."""
    home, number = stack.sandbox.home, stack.droplet(slot)["id"]
    directory, root = home / "machines" / str(number), disk(stack, slot)
    processes = list((root / "proc").glob("[0-9]*"))
    return {
        f"{slot}: user data": (directory / "seed" / "user-data").read_bytes(),
        f"{slot}: console": (directory / "console.log").read_bytes(),
        f"{slot}: journal": inside(stack, slot, "journalctl --all --output=export --quiet").encode(),
        f"{slot}: /var/lib/cloud": tree(root / "var/lib/cloud"),
        f"{slot}: /run/cloud-init": tree(root / "run/cloud-init"),
        f"{slot}: /var/log": tree(root / "var/log"),
        f"{slot}: arguments": b"\n".join(read(process / "cmdline") for process in processes),
        f"{slot}: environments": b"\n".join(read(process / "environ") for process in processes),
    }


def disk(stack: LiveStack, slot: str) -> Path:
    """The root of a running machine's file system, with all that is mounted there."""
    return Path("/proc", str(stack.sandbox.inside.init(stack.droplet(slot)["id"])), "root")


def inside(stack: LiveStack, slot: str, command: str) -> str:
    return asyncio.run(stack.sandbox.inside.run(stack.droplet(slot)["id"], command))


def tree(directory: Path) -> bytes:
    """All regular files below; the journal's are read with journalctl instead, as they are compressed."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink())
    kept = (path for path in files if path.suffix not in {".journal", ".journal~"})
    return b"\n".join(read(path) for path in kept)


def read(path: Path) -> bytes:
    """Empty for a file or process that is gone by now."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def leaks(secrets: Secrets, places: Mapping[str, bytes]) -> dict[str, frozenset[str]]:
    found = {place: secrets.found_in(data) for place, data in places.items()}
    return {place: names for place, names in found.items() if names}


def test_the_host_key_in_user_data_is_the_only_secret_outside(
    secrets: Secrets, places: Mapping[str, bytes]
) -> None:
    """That one is found where it has to be also proves that the places were read."""
    assert all(places.values()), "a place is empty"
    found = leaks(secrets, places)
    requests = found.pop("requests")
    assert {"host key web-1", "host key database-1"} <= requests <= HOST_KEYS
    for slot in SLOTS:
        # cloud-init's own copy of the user data, there from the first boot until the next one.
        assert found.pop(f"{slot}: /run/cloud-init", frozenset()) <= {f"host key {slot}"}
        assert found.pop(f"{slot}: user data") == {f"host key {slot}"}
        assert found.pop(f"{slot}: /var/lib/cloud") == {f"host key {slot}"}
    assert found == {}


def test_requests_carry_a_host_key_in_user_data_only(stack: LiveStack, secrets: Secrets) -> None:
    for request in stack.sandbox.requests():
        body = request["body"] if isinstance(request["body"], dict) else {}
        slot = str(body.get("name")).rpartition("-")[0]
        assert secrets.found_in(str(body.pop("user_data", "")).encode()) <= {f"host key {slot}"}
        assert secrets.found_in(json.dumps(request).encode()) == frozenset(), request["path"]


def test_images_hold_no_secret(stack: LiveStack, secrets: Secrets) -> None:
    layers = stack.sandbox.home / "layers"
    assert list(layers.iterdir()), "nothing was baked"
    assert secrets.found_in_files(layers) == {}


@pytest.mark.parametrize("slot", SLOTS)
def test_only_root_reads_the_files_of_a_machine_that_hold_a_secret(
    stack: LiveStack, secrets: Secrets, slot: str
) -> None:
    upper = stack.sandbox.home / "machines" / str(stack.droplet(slot)["id"]) / "upper"
    found = secrets.found_in_files(upper)
    tls = {"members' key 1"} if slot == "web-1" else {"TLS key database-1"}
    assert set().union(*found.values()) >= {PASSWORD, f"host key {slot}"} | tls
    copies = disk(stack, slot) / "run/cloud-init"
    status = {path: (upper / path).stat() for path in found}
    status |= {path: (copies / path).stat() for path in secrets.found_in_files(copies)}
    allowed = dict.fromkeys(status, (0, "0o0"))
    if slot == "web-1":
        # nginx's workers read the key at each handshake; nothing else runs in their group.
        allowed[machine_places.SITE_CERTIFICATE.lstrip("/")] = (0, "0o40")
    assert {path: (entry.st_uid, oct(entry.st_mode & 0o077)) for path, entry in status.items()} == allowed


def test_planted_secrets_are_found(stack: LiveStack, secrets: Secrets) -> None:
    """The control: put where they must not be, each in another form, they are all reported from there."""
    seed = stack.setting("seed")
    password = secrets.fragments[PASSWORD][0].decode()
    before = leaks(secrets, {**on_the_desk(stack), **on(stack, "web-1")})
    with ExitStack() as planted:
        for plant in (
            file(stack.sandbox.home / "pulumi-state/planted", base64.b64encode(b"x" + password.encode())),
            file(stack.directory / "planted", gzip.compress(seed.encode())),
            file(
                disk(stack, "web-1") / "var/lib/cloud/planted",
                base64.b64encode(gzip.compress(password.encode())),
            ),
            file(disk(stack, "web-1") / "run/cloud-init/planted", base64.b64decode(seed)),
            file(disk(stack, "web-1") / "var/log/planted", quote(seed, safe="").encode()),
            file(
                next((stack.sandbox.home / "layers").iterdir()) / "planted.gz",
                gzip.compress(password.encode()),
            ),
            logged(stack, "web-1", seed.encode().hex()),
            running(stack, "web-1", seed, password),
            order(stack, base64.b64encode(gzip.compress(seed.encode())).decode()),
        ):
            planted.enter_context(plant)
        found = leaks(secrets, {**on_the_desk(stack), **on(stack, "web-1")})
        in_images = secrets.found_in_files(stack.sandbox.home / "layers")
    new = {place: names - before.get(place, frozenset()) for place, names in found.items()}
    assert {place: names for place, names in new.items() if names} == {
        "state, history and backups": {PASSWORD},
        "project": {"seed"},
        "requests": {"seed"},
        "web-1: /var/lib/cloud": {PASSWORD},
        "web-1: /run/cloud-init": {"seed"},
        "web-1: /var/log": {"seed"},
        "web-1: journal": {"seed"},
        "web-1: arguments": {"seed"},
        "web-1: environments": {PASSWORD},
    }
    assert list(in_images.values()) == [{PASSWORD}]


@contextmanager
def file(path: Path, content: bytes) -> Iterator[None]:
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def logged(stack: LiveStack, slot: str, text: str) -> Iterator[None]:
    inside(stack, slot, f"systemd-cat echo {text}; journalctl --sync")
    try:
        yield
    finally:
        inside(stack, slot, "journalctl --quiet --rotate --vacuum-size=1")


@contextmanager
def running(stack: LiveStack, slot: str, argument: str, variable: str) -> Iterator[None]:
    """A process with one secret in its arguments and another one in its environment, without a word in the journal."""
    started = (
        f"PLANTED='{variable}' setsid sh -c 'sleep 300; :' '{argument}' </dev/null >/dev/null 2>&1 & echo $!"
    )
    number = inside(stack, slot, started)
    try:
        yield
    finally:
        inside(stack, slot, f"pkill --session {number}")


@contextmanager
def order(stack: LiveStack, secret: str) -> Iterator[None]:
    """A droplet whose user data tells more than it should."""
    body = {"name": "planted", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
    made = stack.sandbox.api("POST", "droplets", {**body, "user_data": f"#cloud-config\n# {secret}\n"})[
        "droplet"
    ]
    try:
        yield
    finally:
        stack.sandbox.api("DELETE", f"droplets/{made['id']}")


METADATA = "http://169.254.169.254/metadata/v1/user-data"


@pytest.mark.parametrize("slot", SLOTS)
def test_metadata_is_for_root_alone(stack: LiveStack, slot: str) -> None:
    ask = f"curl --silent --show-error --max-time 3 {METADATA}"
    assert inside(stack, slot, ask).startswith("#cloud-config")
    users = set(inside(stack, slot, "ps --no-headers -eo uid").split()) - {"0"} | {"65534", "4321"}
    assert len(users) > 3, "a machine's services have users of their own"
    number = stack.droplet(slot)["id"]
    for user in users:
        command = f"setpriv --reuid={user} --regid={user} --clear-groups {ask}"
        code, said = asyncio.run(stack.sandbox.inside.attempt(number, command))
        assert (code, "cloud-config" in said) == (7, False), f"user {user}: {code} {said}"


def test_the_site_is_no_way_to_the_metadata(stack: LiveStack) -> None:
    """What a visitor might make the site fetch: the request comes from the app's own user, in its own unit."""
    script = f"import urllib.request; urllib.request.urlopen('{METADATA}', timeout=3)"
    unit = "flotilla-app.service"
    pid = inside(stack, "web-1", f"systemctl show --property=MainPID --value {unit}")
    enter = (
        f"nsenter --target={pid} --all --setuid=$(stat -c %u /proc/{pid}) --setgid=$(stat -c %g /proc/{pid})"
    )
    code, said = asyncio.run(
        stack.sandbox.inside.attempt(stack.droplet("web-1")["id"], f'{enter} python3 -c "{script}"')
    )
    assert code == 1
    assert "Connection refused" in said or "Network is unreachable" in said or "No route" in said
