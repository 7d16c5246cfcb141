"""Updates that go wrong in the clouds or on a machine: what is said, what stays up, and that the next run finishes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.engine.local_cloud import until
from tests.engine.site import NEXT_WEB_IMAGE, Site, now

pytestmark = pytest.mark.engine

FAILED_GATE = """pass processes (0.4 s)
FAIL app-answers (60.0 s): /readyz answers 503: database unreachable
     | gunicorn[412]: OperationalError: (2003, "Can't connect to MySQL server")
"""


def test_a_failing_gate_stops_a_rollout_before_any_switch(site: Site) -> None:
    site.set("web", count=2)
    site.up()
    before, records = site.droplets(), site.cloud.records(site.domain)
    site.cloud.script(name="^web-2-", program="flotilla-gate", exit=1, stdout=FAILED_GATE)
    site.set("web", image=NEXT_WEB_IMAGE)
    began = now()
    run = site.up(expect=1)
    for line in FAILED_GATE.splitlines():
        assert line in run.printed
    assert any("web-2-gate" in line and "error" in line for line in run.printed.splitlines())
    assert "Traceback" not in run.printed
    assert site.cloud.records(site.domain) == records
    assert [str(change) for change in site.cloud.changes(began) if "dns_records" in change.path] == []
    assert before.items() <= site.droplets().items(), "the old members serve on"

    site.cloud.calm()
    assert site.recover()["untracked_droplets"] == []
    began = now()
    run = site.up()
    switched = [name for name in run.done("update") if name.endswith("-dns")]
    assert switched == ["web-1-dns", "web-2-dns"], "the canary first"
    assert "++ digitalocean:index:Droplet" not in run.printed, "what booted is not booted again"
    assert not before.keys() & {name for name in site.droplets() if name.startswith("web")}
    site.check_whole(2)


def test_a_machine_that_dies_in_its_gate_is_named_and_can_be_brought_back(site: Site) -> None:
    site.cloud.script(name="^web-1-", program="flotilla-gate", effect="die", times=1)
    run = site.up(expect=1)
    assert any("web-1-gate" in line and "error" in line for line in run.printed.splitlines())
    assert site.addresses() == []
    [dead] = [droplet for droplet in site.droplets().values() if droplet["status"] == "off"]
    site.cloud.act(dead["id"], "power_on")
    site.up()
    site.check_whole(1)


def test_a_machine_that_is_slow_to_answer_is_waited_for(site: Site) -> None:
    """No SSH at first: a power cycle later stands in for a boot that takes its time."""
    site.cloud.script(name="^web-1-", effect="no_sshd", times=1)
    with site.started("up", "--skip-preview") as (engine, _):
        until(lambda: web_1(site) is not None, "the member to boot")
        droplet = web_1(site)
        assert droplet is not None
        site.cloud.act(droplet["id"], "power_cycle")
        printed, _ = engine.communicate(timeout=60)
        assert engine.returncode == 0, printed
    site.check_whole(1)


def web_1(site: Site) -> dict[str, Any] | None:
    found = (item for name, item in site.droplets().items() if name.startswith("web-1-"))
    return next((droplet for droplet in found if droplet["status"] == "active"), None)


def test_a_dead_machine_does_not_block_destroy(site: Site) -> None:
    site.up()
    for name in site.droplets():
        site.cloud.kill(name)
    run = site.destroy()
    assert re.search(r"warning: web-1 \(\S+\) is dead or cut off", run.printed), run.printed
    assert site.state() == []
    assert site.cloud.inventory() == {}


def test_a_drain_that_fails_keeps_serving_for_the_propagation_time_and_lets_go(site: Site) -> None:
    site.up()
    site.cloud.script(program="flotilla-drain", exit=1, stderr="nginx is not there\n")
    run = site.destroy()
    assert "draining web-1" in run.printed
    assert "nginx is not there" in run.printed
    assert site.cloud.inventory() == {}


@pytest.mark.parametrize("status", [500, 503])
def test_a_create_that_the_cloud_fails_once_is_sent_again(site: Site, status: int) -> None:
    site.cloud.fail(
        service="digitalocean", method="POST", path="/v2/droplets$", error={"status": status}, times=1
    )
    site.up()
    site.check_whole(1)


def test_a_rate_limit_is_waited_for(site: Site) -> None:
    error = {"status": 429, "headers": {"retry-after": "1"}}
    site.cloud.fail(service="digitalocean", method="POST", error=error, times=3)
    site.cloud.fail(service="cloudflare", method="POST", error=error, times=1)
    site.up()
    site.check_whole(1)


def test_a_create_that_the_cloud_fails_for_good_is_named_and_made_by_the_next_up(site: Site) -> None:
    error = {
        "status": 422,
        "body": {
            "id": "unprocessable_entity",
            "message": "creating this/these droplet(s) will exceed your droplet limit",
        },
    }
    site.cloud.fail(service="digitalocean", method="POST", path="/v2/droplets$", error=error)
    run = site.up(expect=1)
    assert any("exceed your droplet limit" in message for message in run.errors)
    site.cloud.calm()
    assert site.recover()["untracked_droplets"] == []
    site.up()
    site.check_whole(1)


def test_a_droplet_whose_answer_was_lost_is_found(site: Site) -> None:
    """The provider repeats a request that got no answer, so the cloud has made two; only one is in the state."""
    site.up()
    site.set("web", count=2)
    site.cloud.fail(service="digitalocean", method="POST", path="/v2/droplets$", drop="answer", times=1)
    site.up()
    assert len(site.cloud.inventory()["droplets"]) == 4
    report = site.recover()
    assert len(report["removed_twins"]) == 1
    assert report["untracked_droplets"] == []
    site.check_whole(2)
