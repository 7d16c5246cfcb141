"""Every secret of a stack, looked for wherever it must not be."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from fleet.identity import Identity
from tests.engine.site import NEXT_WEB_IMAGE, Site, now
from tests.engine.test_rollout import fence

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def fragments(identity: Identity, seed: str) -> dict[str, str]:
    """A piece of each secret that survives any quoting: no line ends, no escapes."""
    whole = {
        "seed": seed,
        "database password": identity.password("database"),
        "deploy key": identity.deploy_key().private_openssh,
        "host key of web-1": identity.host_key("web-1").private_openssh,
        "host key of database-1": identity.host_key("database-1").private_openssh,
        "key of the site": identity.origin_request("www.example.com", 1).private_key_pem,
        "key among peers": identity.peer_certificate().private_key_pem,
        "key of the edge": identity.certificate("edge/1", client=True).private_key_pem,
    }
    # Keys: a line from the middle, where nothing is common to all keys of a kind.
    return {
        name: text if "\n" not in text else max(text.splitlines()[2:-1], key=len)
        for name, text in whole.items()
    }


def found(canaries: dict[str, str], text: str) -> set[str]:
    return {name for name, fragment in canaries.items() if fragment in text}


def environments() -> str:
    """Of all processes of this machine that can be read."""
    texts: list[str] = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
            texts.append(path.read_text(errors="replace"))
    assert texts, "nothing was read"
    return "\n".join(texts)


def test_no_secret_is_where_it_does_not_belong(site: Site) -> None:
    canaries = fragments(Identity.from_seed(site.template.seed), site.template.seed)
    site.cloud.script(program="flotilla-fence status", stdout=fence("open"))
    began = now()
    printed = site.act("up", "--diff").printed
    # With a canary, whose watch is handed the seed.
    site.set("web", image=NEXT_WEB_IMAGE, count=2, rollout={"canary_seconds": 1})
    printed += site.act("preview", "--diff").printed
    printed += site.act("up", "--diff").printed
    printed += site.act("refresh", "--diff").printed
    assert found(canaries, printed) == set()

    assert "web-canary" in printed
    assert found(canaries, (site.cloud.home / "daemon.log").read_text()) == set()
    assert found(canaries, environments()) == set(), "a process outlives the runs, and has been told too much"

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

    bundled = {"database password", "key of the site", "key among peers"}
    for ran in site.cloud.commands(began):
        assert found(canaries, ran.command) == set(), ran.command
        belongs = bundled if "flotilla-receive" in ran.command else set()
        assert found(canaries, ran.stdin) <= belongs, ran.command
    delivered = {name for ran in site.cloud.commands(began) for name in found(canaries, ran.stdin)}
    assert delivered == bundled, "the search finds what is there"
