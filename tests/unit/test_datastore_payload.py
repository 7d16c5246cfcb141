"""What an image and a boot payload hold for the datastore."""

from __future__ import annotations

from pathlib import Path

from cloudinit import roles
from cloudinit.release import Release
from cloudinit.roles import common
from fleet.config import Inbound, MachineConfig
from tests.unit.fake_machine import WEB
from tests.unit.test_payload import database, file_in, web

PEERS = Inbound(protocol="tcp", port=8101, sources=("role:web", "role:autoscaler"))
SITE = Inbound(protocol="tcp", port=443, sources=("edge", "role:autoscaler"))
RULES = "/etc/nftables.conf"


def test_a_role_has_a_set_that_holds_the_network_at_first() -> None:
    text = file_in(roles.web.boot(web(inbound=(PEERS,))), RULES)
    for role in ("web", "autoscaler"):
        assert f"ip saddr @role_{role}4 tcp dport 8101 accept" in text
        declared = text.partition(f"set role_{role}4 {{")[2].partition("}\n    }")[0]
        assert "elements = { 10.20.0.0/20 " in declared
    assert text.index("set role_web4") < text.index("@role_web4")
    assert text.rstrip().splitlines()[-4] == 'include "/etc/flotilla/roles/*.nft"'


def test_the_site_is_open_to_a_role_through_the_fence() -> None:
    assert "ip saddr @role_autoscaler4 tcp dport 443 goto fence" in file_in(
        roles.web.boot(web(inbound=(SITE,))), RULES
    )


def test_without_roles_the_packet_filter_has_no_sets_of_theirs() -> None:
    assert "role" not in file_in(roles.database.boot(database()), RULES)


def test_every_image_publishes_and_needs_no_package_for_it() -> None:
    for role in (
        roles.web.files(roles.WebImage(release=Release("abc", "site:app", ()))),
        roles.database.files(roles.DatabaseImage()),
    ):
        files = {file.path: file.content.decode() for file in role}
        assert "flotilla-publish.timer" in files["/usr/local/lib/flotilla/install"]
        for name in ("publish.service", "publish.timer", "follow.service", "credential.service"):
            assert f"/etc/systemd/system/flotilla-{name}" in files
        for name in ("datastore", "datastore_s3", "datastore_signature", "datastore_xml"):
            assert f"{common.PROGRAMS}/fleet/{name}.py" in files


def test_the_desks_side_of_the_datastore_is_not_on_machines() -> None:
    paths = {file.path for file in common.program_files()}
    assert not [path for path in paths if "/desk" in path]


def test_a_description_from_before_is_read_as_before() -> None:
    text = MachineConfig.from_json(WEB.to_json()).to_json()
    assert text == WEB.to_json()
    assert "role_" not in common.packet_filter(WEB)


def test_units_have_no_more_rights_than_they_use() -> None:
    units = Path(common.FILES, "common/etc/systemd/system")
    publish = (units / "flotilla-publish.service").read_text().splitlines()
    assert {"DynamicUser=yes", "CapabilityBoundingSet=", "NoNewPrivileges=yes"} <= set(publish)
    follow = (units / "flotilla-follow.service").read_text().splitlines()
    assert {"CapabilityBoundingSet=CAP_NET_ADMIN", "RestrictAddressFamilies=AF_UNIX AF_NETLINK"} <= set(
        follow
    )
