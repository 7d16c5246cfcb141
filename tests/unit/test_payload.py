"""User data and image archives: what is in them, what is not, and that equal means equal bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudinit import archive, roles
from cloudinit.archive import File
from cloudinit.document import MAX_USER_DATA_BYTES, Dumper, PayloadTooLargeError, cloud_config
from cloudinit.release import Release, from_directory
from cloudinit.roles import common
from fleet import commands
from fleet.config import ANYWHERE, EDGE, ConfigError, Inbound, MachineConfig
from fleet.identity import Identity

IDENTITY = Identity.from_seed(base64.b64encode(bytes(range(32))).decode())
SSH = Inbound(protocol="tcp", port=22, sources=("203.0.113.7/32", "10.20.0.0/20"))
HTTPS = Inbound(protocol="tcp", port=443, sources=(EDGE,))


def release(text: str = "app = None\n") -> Release:
    return Release("abc", "site:app", (File("/opt/flotilla/app/site.py", text.encode()),))


def web(**changes: Any) -> roles.WebMachine:
    given: dict[str, Any] = {
        "stack": "dev",
        "slot": "web-1",
        "network": "10.20.0.0/20",
        "inbound": (SSH, HTTPS),
        "host_key": IDENTITY.host_key("web-1"),
        "authorized_keys": (IDENTITY.deploy_key().public_openssh,),
    }
    return roles.WebMachine(**{**given, **changes})


def database(**changes: Any) -> roles.DatabaseMachine:
    given: dict[str, Any] = {
        "stack": "dev",
        "slot": "database-1",
        "network": "10.20.0.0/20",
        "inbound": (SSH, Inbound(protocol="tcp", port=3306, sources=("10.20.0.0/20",))),
        "host_key": IDENTITY.host_key("database-1"),
        "authorized_keys": (IDENTITY.deploy_key().public_openssh,),
        "volume": "dev-data",
    }
    return roles.DatabaseMachine(**{**given, **changes})


def document(text: str) -> dict[str, Any]:
    assert text.startswith("#cloud-config\n")
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def file_in(text: str, path: str) -> str:
    return str(next(file["content"] for file in document(text)["write_files"] if file["path"] == path))


def test_the_same_machine_has_the_same_bytes() -> None:
    assert roles.web.boot(web()) == roles.web.boot(web())


def test_a_boot_payload_installs_nothing_from_a_baked_image() -> None:
    assert not {"packages", "package_update", "apt"} & set(document(roles.web.boot(web())))


def test_the_host_key_is_the_only_secret_of_a_boot_payload() -> None:
    text = roles.web.boot(web())
    assert text.count("PRIVATE KEY-----") == 2
    assert IDENTITY.deploy_key().private_openssh not in text
    assert IDENTITY.password("database") not in text


def test_a_machine_has_its_slots_name_and_key() -> None:
    boot = document(roles.web.boot(web()))
    assert boot["hostname"] == "web-1"
    assert boot["ssh_keys"]["ed25519_private"] == IDENTITY.host_key("web-1").private_openssh


def test_nobody_but_root_exists_and_root_logs_in_by_key() -> None:
    boot = document(roles.web.boot(web()))
    assert (boot["users"], boot["ssh_pwauth"], boot["disable_root"]) == ([], False, False)


def test_the_machines_description_can_be_read_back() -> None:
    config = MachineConfig.from_json(file_in(roles.web.boot(web()), "/etc/flotilla/machine.json"))
    assert (config.role, config.slot, config.inbound) == ("web", "web-1", (SSH, HTTPS))


def test_a_database_machine_knows_engine_and_volume() -> None:
    text = roles.database.boot(database(engine="postgresql"))
    config = MachineConfig.from_json(file_in(text, "/etc/flotilla/machine.json"))
    assert (config.engine, config.volume, config.ports) == ("postgresql", "dev-data", (22, 5432))


@pytest.mark.parametrize(
    "boot",
    [
        roles.web.boot(web(from_scratch=roles.WebImage(release=release()))),
        roles.database.boot(database(from_scratch=roles.DatabaseImage())),
        roles.web.bake(roles.WebImage(release=release())),
    ],
)
def test_packages_are_installed_and_never_upgraded(boot: str) -> None:
    made = document(boot)
    assert made["packages"]
    assert made["package_upgrade"] is False


def test_a_machine_from_scratch_is_another_when_its_files_are() -> None:
    one, other = (
        roles.web.boot(web(from_scratch=roles.WebImage(release=release(text)))) for text in ("a = 1", "a = 2")
    )
    assert one != other


def test_further_packages_of_an_app_are_installed() -> None:
    image = roles.WebImage(release=release(), packages=("python3-redis",))
    assert "python3-redis" in document(roles.web.bake(image))["packages"]


@pytest.mark.parametrize("engine", ["mysql", "postgresql"])
def test_every_payload_fits(engine: Any) -> None:
    keys = tuple(IDENTITY.deploy_key().public_openssh for _ in range(8))
    texts = [
        roles.web.boot(web(authorized_keys=keys, from_scratch=roles.WebImage(release=release()))),
        roles.database.boot(
            database(authorized_keys=keys, engine=engine, from_scratch=roles.DatabaseImage(engine=engine))
        ),
    ]
    assert all(len(text.encode()) < MAX_USER_DATA_BYTES * 0.6 for text in texts)


def test_too_much_user_data_is_an_error_with_size_limit_and_fix() -> None:
    with pytest.raises(
        PayloadTooLargeError, match=r"bytes and clouds take 16384.*`ssh_authorized_keys`.*fewer"
    ):
        roles.web.boot(web(authorized_keys=(IDENTITY.deploy_key().public_openssh,) * 200))


def test_texts_of_several_lines_are_readable_blocks() -> None:
    assert cloud_config({"a": "x\ny\n"}) == "#cloud-config\na: |\n  x\n  y\n"


@pytest.mark.parametrize("scratch", [None, roles.WebImage(release=release(), packages=("python3-redis",))])
def test_a_document_is_dumped_piece_by_piece_as_it_would_be_in_one(scratch: roles.WebImage | None) -> None:
    """Other bytes would replace every machine."""
    text = roles.web.boot(web(from_scratch=scratch))
    whole = yaml.dump(
        document(text),
        Dumper=Dumper,
        sort_keys=False,
        width=1_000_000,
        allow_unicode=True,
        default_flow_style=False,
    )
    assert text == f"#cloud-config\n{whole}"


def test_a_wrong_machine_is_refused_when_it_is_rendered() -> None:
    with pytest.raises(ConfigError, match="slot"):
        roles.web.boot(web(slot="web 1"))


def rules(inbound: Inbound) -> list[str]:
    return common.inbound_rules(inbound)


def test_sources_of_both_families_get_a_rule_each() -> None:
    mixed = Inbound(protocol="tcp", port=443, sources=("2001:db8::/32", "192.0.2.0/24", "198.51.100.1/32"))
    assert rules(mixed) == [
        "ip saddr { 192.0.2.0/24, 198.51.100.1/32 } tcp dport 443 accept",
        "ip6 saddr { 2001:db8::/32 } tcp dport 443 accept",
    ]


def test_the_edge_is_a_set_that_can_be_filled_later() -> None:
    assert rules(HTTPS) == ["ip saddr @edge4 tcp dport 443 accept", "ip6 saddr @edge6 tcp dport 443 accept"]


def test_anyone_is_said_without_a_range() -> None:
    anyone = Inbound(protocol="tcp", port=443, sources=ANYWHERE)
    assert rules(anyone) == [
        "meta nfproto ipv4 tcp dport 443 accept",
        "meta nfproto ipv6 tcp dport 443 accept",
    ]


def test_the_packet_filter_closes_what_no_rule_opens() -> None:
    text = file_in(roles.web.boot(web()), "/etc/nftables.conf")
    assert "hook input priority filter; policy drop;" in text
    assert "ip daddr 169.254.169.254 meta skuid != 0 reject" in text
    assert "udp" not in text


def test_the_sites_connections_pass_the_fence_and_no_others_do() -> None:
    text = file_in(roles.web.boot(web()), "/etc/nftables.conf")
    assert "@edge4 tcp dport 443 goto fence" in text
    assert text.count("goto fence") == 2
    assert text.endswith('include "/var/lib/flotilla/fence/*.nft"\n')


def test_a_database_has_no_fence() -> None:
    assert "fence" not in file_in(roles.database.boot(database()), "/etc/nftables.conf")


def test_an_archive_has_the_same_bytes_whatever_the_order() -> None:
    files = [File("/b", b"2"), File("/a", b"1", 0o755)]
    assert archive.pack(files) == archive.pack(reversed(files))


def test_an_archive_lays_what_was_packed() -> None:
    files = [File("/a/b", b"1", 0o755), File("/c", b"")]
    assert archive.unpack(archive.pack(files)) == files


@pytest.mark.parametrize("other", [File("/a", b"2"), File("/b", b"1"), File("/a", b"1", 0o755)])
def test_a_digest_covers_path_mode_and_content(other: File) -> None:
    assert archive.digest([File("/a", b"1")]) != archive.digest([other])


def test_an_images_digest_changes_with_its_packages() -> None:
    image = roles.WebImage(release=release())
    more = roles.WebImage(release=release(), packages=("python3-redis",))
    assert roles.web.digest(image) != roles.web.digest(more)


def test_a_web_image_holds_units_programs_and_the_app() -> None:
    paths = {file.path for file in roles.web.files(roles.WebImage(release=release()))}
    assert {
        "/etc/systemd/system/flotilla-app.service",
        "/usr/local/sbin/flotilla-drain",
        "/usr/local/lib/flotilla/fleet/machine/receive.py",
        "/opt/flotilla/app/site.py",
    } <= paths


@pytest.mark.parametrize("engine", ["mysql", "postgresql"])
def test_a_database_image_never_starts_its_server_before_the_volume(engine: Any) -> None:
    files = roles.database.files(roles.DatabaseImage(engine=engine))
    assert [file.path for file in files if b"AssertPathIsMountPoint=/srv/data" in file.content]


def test_programs_on_the_machine_can_be_run() -> None:
    modes = {file.path: file.mode for file in roles.web.files(roles.WebImage(release=release()))}
    assert {path for path, mode in modes.items() if mode == 0o755} == {
        "/usr/local/lib/flotilla/install",
        "/usr/local/sbin/flotilla-datastore",
        "/usr/local/sbin/flotilla-drain",
        "/usr/local/sbin/flotilla-edge-ranges",
        "/usr/local/sbin/flotilla-fence",
        "/usr/local/sbin/flotilla-gate",
        "/usr/local/sbin/flotilla-manifest",
        "/usr/local/sbin/flotilla-peers",
        "/usr/local/sbin/flotilla-receive",
    }


def test_the_machines_programs_import_the_standard_library_only() -> None:
    import ast
    import sys

    programs = common.program_files()
    modules = {
        file.path.removeprefix(f"{common.PROGRAMS}/").removesuffix(".py").replace("/", ".")
        for file in programs
    }
    for file in programs:
        for node in ast.walk(ast.parse(file.content)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                if top == "cryptography" and file.path.endswith("/datastore_seal.py"):
                    continue
                assert top in sys.stdlib_module_names or name in modules | {"fleet.machine"}, (
                    f"{file.path} imports {name}"
                )


def test_a_delivery_carries_archive_and_bundle() -> None:
    delivered = json.loads(commands.delivery(b"\x00archive", "{}"))
    assert (base64.b64decode(delivered["archive"]), delivered["bundle"]) == (b"\x00archive", "{}")


def test_the_example_site_is_a_release() -> None:
    made = from_directory(Path(__file__).parents[2] / "app", "visits.wsgi:app")
    assert "/opt/flotilla/app/visits/templates/page.html" in {file.path for file in made.files}
