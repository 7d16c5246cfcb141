"""What all roles have in common: identity, packet filter, hardening, the programs of the machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import jinja2

from cloudinit.archive import File
from fleet.config import EDGE, ROLE_SOURCE, Inbound, MachineConfig, source_role

FILES: Final = Path(__file__).resolve().parent.parent / "files"
SITE_PORT: Final = 443
FENCED_PORTS: Final = (SITE_PORT, 8102)  # their connections pass the fence: see fleet/machine/barrier.py
PACKAGE_LIST: Final = "/usr/share/flotilla/packages"  # fleet/machine/places.py
PROGRAMS: Final = "/usr/local/lib/flotilla"
COMMON_PACKAGES: Final = (
    "ca-certificates",
    "iproute2",
    "logrotate",
    "nftables",
    "openssl",
    "python3",
    "systemd-timesyncd",
)
COMMON_UNITS: Final = ("flotilla-publish.timer",)
# Debian's own way to try a download again; a mirror that stumbles must not cost a machine.
APT: Final = 'Acquire::Retries "5";\nAPT::Install-Recommends "false";\nDpkg::Use-Pty "false";\n'

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FILES),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - units and rules, not HTML; every value is checked by fleet.config
)


class HostKey(Protocol):
    """A machine's SSH host key in OpenSSH's formats, as fleet.identity derives it."""

    @property
    def private_openssh(self) -> str: ...
    @property
    def public_openssh(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Identity and structure of one machine, whatever its role."""

    stack: str
    slot: str
    network: str  # the VPC's range
    inbound: tuple[Inbound, ...]
    host_key: HostKey  # its private half is the only secret of a payload
    authorized_keys: tuple[str, ...]


def boot_document(machine: Machine, config: MachineConfig) -> dict[str, Any]:
    """cloud-config that gives a machine its identity. `config` is read back, so what is wrong stops here."""
    checked = MachineConfig.from_json(config.to_json())
    return {
        "hostname": checked.slot,
        "preserve_hostname": False,
        "users": [],
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_keys": {
            "ed25519_private": machine.host_key.private_openssh,
            "ed25519_public": machine.host_key.public_openssh,
        },
        "ssh_authorized_keys": list(machine.authorized_keys),
        "write_files": [
            write_file(File("/etc/flotilla/machine.json", checked.to_json().encode())),
            write_file(File("/etc/nftables.conf", packet_filter(checked).encode(), 0o755)),
        ],
        "runcmd": [
            ["systemctl", "--quiet", "enable", "nftables.service"],
            ["systemctl", "reload-or-restart", "nftables.service"],
        ],
    }


def bake_document(packages: Iterable[str], hold: Sequence[File]) -> dict[str, Any]:
    """cloud-config that installs packages; `hold` are files that must lie before, to keep services from starting."""
    return {
        "ssh_pwauth": False,
        "apt": {"conf": APT},
        "package_update": True,
        "package_upgrade": False,
        "package_reboot_if_required": False,
        "packages": sorted({*COMMON_PACKAGES, *packages}),
        "write_files": [write_file(file) for file in hold],
    }


def merged(boot: Mapping[str, Any], bake: Mapping[str, Any]) -> dict[str, Any]:
    """Both documents as one, for a machine that starts from a distribution image."""
    return {**bake, **boot, "write_files": [*bake["write_files"], *boot["write_files"]]}


def write_file(file: File) -> dict[str, Any]:
    """An entry of cloud-init's write_files."""
    return {"path": file.path, "permissions": f"{file.mode:04o}", "content": file.content.decode()}


def image_files(trees: Sequence[str], units: Sequence[str], packages: Iterable[str]) -> list[File]:
    """Everything an image of a role holds besides packages: the trees' files, the machine's programs, and the
    packages' names for the gate."""
    enabled = [*COMMON_UNITS, *units]
    files = [file for tree in ("common", *trees) for file in tree_files(tree, units=enabled)]
    listed = "".join(f"{name}\n" for name in sorted({*COMMON_PACKAGES, *packages}))
    return [*files, *program_files(), File(PACKAGE_LIST, listed.encode())]


def tree_files(tree: str, **values: object) -> list[File]:
    """Files below files/<tree>, at the path they have on a machine; `.j2` ones rendered with the values."""
    root = FILES / tree
    return [_tree_file(path, root, values) for path in sorted(root.rglob("*")) if path.is_file()]


def tree_file(tree: str, path: str) -> File:
    """One file of a tree, by its path on a machine."""
    root = FILES / tree
    return _tree_file(root / path.lstrip("/"), root, {})


def _tree_file(path: Path, root: Path, values: Mapping[str, object]) -> File:
    content = path.read_text(encoding="utf-8")
    name = path.relative_to(root).as_posix()
    if path.suffix == ".j2":
        content = _TEMPLATES.get_template(path.relative_to(FILES).as_posix()).render(values)
        name = name.removesuffix(".j2")
    runs = content.startswith("#!/bin/sh")
    return File(f"/{name}", content.encode(), 0o755 if runs else 0o644)


def program_files() -> list[File]:
    """The machine's programs as a Python package of their own; standard library only."""
    root = Path(__file__).resolve().parents[2]
    sources = ["fleet/__init__.py", "fleet/config.py", "fleet/reading.py"]
    sources += ["fleet/controller/__init__.py", "fleet/controller/config.py"]
    sources += sorted(path.relative_to(root).as_posix() for path in (root / "fleet").glob("datastore*.py"))
    sources += sorted(path.relative_to(root).as_posix() for path in (root / "fleet/machine").glob("*.py"))
    return [File(f"{PROGRAMS}/{name}", (root / name).read_bytes()) for name in sources]


def packet_filter(config: MachineConfig) -> str:
    """/etc/nftables.conf of a machine."""
    fence = config.role == "web"
    rules = [
        rule
        for inbound in config.inbound
        for rule in inbound_rules(
            inbound, "goto fence" if fence and inbound.port in FENCED_PORTS else "accept"
        )
    ]
    sources = [source for inbound in config.inbound for source in inbound.sources]
    roles = sorted({role for source in sources if (role := source_role(source))})
    return _TEMPLATES.get_template("boot/etc/nftables.conf.j2").render(
        rules=rules, fence=fence, roles=roles, network=config.network
    )


def inbound_rules(inbound: Inbound, verdict: str = "accept") -> list[str]:
    """nftables rules that let one Inbound pass, one per address family and kind of source."""
    port = f"{inbound.protocol} dport {inbound.port} {verdict}"
    roles = sorted({role for source in inbound.sources if (role := source_role(source))})
    named = {EDGE, *(f"{ROLE_SOURCE}{role}" for role in roles)}
    networks = [ipaddress.ip_network(source) for source in inbound.sources if source not in named]
    rules = []
    for family, keyword, everybody in ((4, "ip", "0.0.0.0/0"), (6, "ip6", "::/0")):
        own = sorted({str(network) for network in networks if network.version == family})
        if everybody in own:
            rules.append(f"meta nfproto ipv{family} {port}")
            continue
        if own:
            rules.append(f"{keyword} saddr {{ {', '.join(own)} }} {port}")
        if EDGE in inbound.sources:
            rules.append(f"{keyword} saddr @edge{family} {port}")
        if family == 4:  # private networks have no other
            rules += [f"ip saddr @role_{role}4 {port}" for role in roles]
    return rules
