"""Every secret of a stack, looked for wherever it must not be."""

from __future__ import annotations

import json

import pytest

from fleet.identity import Identity
from tests.engine.site import NEXT_WEB_IMAGE, Site, now

pytestmark = pytest.mark.engine


def fragments(identity: Identity, seed: str) -> dict[str, str]:
    """A piece of each secret that survives any quoting: no line ends, no escapes."""
    whole = {
        "seed": seed,
        "database password": identity.password("database"),
        "deploy key": identity.deploy_key().private_openssh,
        "host key of web-1": identity.host_key("web-1").private_openssh,
        "host key of database-1": identity.host_key("database-1").private_openssh,
        "key of the site": identity.certificate("web", dns=["example.com"]).private_key_pem,
    }
    # Keys: a line from the middle, where nothing is common to all keys of a kind.
    return {
        name: text if "\n" not in text else max(text.splitlines()[2:-1], key=len)
        for name, text in whole.items()
    }


def found(canaries: dict[str, str], text: str) -> set[str]:
    return {name for name, fragment in canaries.items() if fragment in text}


def test_no_secret_is_where_it_does_not_belong(site: Site) -> None:
    canaries = fragments(Identity.from_seed(site.template.seed), site.template.seed)
    began = now()
    printed = site.act("up", "--diff").printed
    site.set("web", image=NEXT_WEB_IMAGE, count=2)
    printed += site.act("preview", "--diff").printed
    printed += site.act("up", "--diff").printed
    printed += site.act("refresh", "--diff").printed
    assert found(canaries, printed) == set()

    files = [path for path in (site.root / "state").rglob("*") if path.is_file()]
    assert any(site.stack in path.name for path in files)
    assert found(canaries, "".join(path.read_text() for path in files)) == set(), "state and its backups"
    assert found(canaries, site.run("stack", "export", "--stack", site.stack)) == set()
    assert found(canaries, site.run("stack", "output", "--json", "--stack", site.stack)) == set()

    for request in site.cloud.log(began):
        here = found(canaries, json.dumps(request.body))
        if str(request) == "POST /v2/droplets":
            slot = request.body["name"].rpartition("-")[0]
            # Its own host key is what a machine must have before anyone can trust it.
            assert here <= {f"host key of {slot}"}, request
        else:
            assert here == set(), request

    for ran in site.cloud.commands(began):
        assert found(canaries, ran.command) == set(), ran.command
        belongs = {"database password", "key of the site"} if "flotilla-receive" in ran.command else set()
        assert found(canaries, ran.stdin) <= belongs, ran.command
    delivered = {name for ran in site.cloud.commands(began) for name in found(canaries, ran.stdin)}
    assert "database password" in delivered, "the search finds what is there"
