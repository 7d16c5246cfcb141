"""Package sources for machines, derived from a host's apt configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.machines.apt_sources import (
    AptSource,
    archive_origin,
    for_release,
    parse_deb822,
    parse_one_line,
    read_sources,
)

DEB822 = """\
# A comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
Enabled: yes

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def suites(sources: tuple[AptSource, ...]) -> list[tuple[str, str]]:
    return [(source.uri, source.suite) for source in sources]


def test_deb822_stanzas_give_every_pair_of_enabled_binary_sources() -> None:
    assert suites(tuple(parse_deb822(DEB822))) == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
        ("http://mirror.example/debian-security/", "bookworm-security"),
    ]


def test_deb822_keys_may_go_over_several_lines() -> None:
    text = "Types: deb\nURIs: http://a.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n KEY\n LINE\n"
    (source,) = parse_deb822(text)
    assert source.options == (("signed-by", "\nKEY\nLINE"),)


def test_one_line_sources_with_options_and_comments() -> None:
    text = """
    # deb http://off.example/debian bookworm main
    deb [arch=amd64 trusted=yes] http://mirror.example/debian bookworm main contrib # near
    deb-src http://mirror.example/debian bookworm main
    """
    (source,) = parse_one_line(text)
    assert source == AptSource(
        "http://mirror.example/debian",
        "bookworm",
        ("main", "contrib"),
        (("arch", "amd64"), ("trusted", "yes")),
    )
    assert source.trusted


def test_the_release_is_replaced_in_every_pocket() -> None:
    turned = for_release(parse_deb822(DEB822), ["bookworm"], "trixie")
    assert suites(turned) == [
        ("http://mirror.example/debian", "trixie"),
        ("http://mirror.example/debian", "trixie-updates"),
        ("http://mirror.example/debian-security", "trixie-security"),
    ]
    assert {source.components for source in turned} == {("main",)}


def test_a_pinned_snapshot_address_is_kept() -> None:
    pinned = (
        "deb [check-valid-until=no] http://snapshot.example/archive/debian/20260520T000000Z bookworm main"
    )
    (turned,) = for_release(parse_one_line(pinned), ["bookworm"], "trixie")
    assert turned.uri == "http://snapshot.example/archive/debian/20260520T000000Z"
    assert "Check-Valid-Until: no" in turned.render("/keys.gpg")


def test_a_host_that_follows_stable_by_name_works_too() -> None:
    (turned,) = for_release(
        parse_one_line("deb http://a.example/debian stable main"), ["bookworm", "stable"], "trixie"
    )
    assert turned.suite == "trixie"


def test_the_old_spelling_of_the_security_suite() -> None:
    old = "deb http://a.example/security buster/updates main"
    (turned,) = for_release(parse_one_line(old), ["buster"], "trixie")
    assert turned.suite == "trixie-security"


@pytest.mark.parametrize(
    "line",
    [
        "deb http://packages.example/apt cloud-sdk-bookworm main",
        "deb http://packages.example/pgdg bookworm-pgdg main",
        "deb http://packages.example/node nodistro main",
        "deb http://packages.example/docker bookworm stable",
        "deb cdrom:[Debian]/ bookworm main",
        "deb file:/srv/debian bookworm main",
    ],
)
def test_sources_of_others_and_local_media_are_left_out(line: str) -> None:
    assert for_release(parse_one_line(line), ["bookworm"], "trixie") == ()


def test_files_are_read_in_the_order_of_apt(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.example/debian bookworm main\n")
    (parts / "b.list").write_text("deb http://third.example/debian bookworm main\n")
    (parts / "a.sources").write_text(
        "Types: deb\nURIs: http://second.example/debian\nSuites: bookworm\nComponents: main\n"
    )
    (parts / "c.save").write_text("deb http://never.example/debian bookworm main\n")
    assert [source.uri.split("/")[2].split(".")[0] for source in read_sources(tmp_path)] == [
        "first",
        "second",
        "third",
    ]


def test_a_stanza_is_signed_by_the_keyring_of_the_machine() -> None:
    stanza = AptSource("http://a.example/debian", "trixie", ("main",), (("signed-by", "/host/key"),)).render(
        "/keys.gpg"
    )
    assert stanza == (
        "Types: deb\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main\nSigned-By: /keys.gpg\n"
    )


def test_the_origin_of_an_archive() -> None:
    signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nSuite: stable\n"
    assert archive_origin(signed) == "Debian"
    assert archive_origin("<html>not found</html>") is None
