"""Lost answers and killed runs among the edge's certificates: `fleet recover`, and the next `up` goes through."""

from __future__ import annotations

import pytest

from fleet.cloudflare import Cloudflare
from tests.engine.local_cloud import until
from tests.engine.site import Site, now
from tests.pems import new_key, private_pem, self_signed_pem

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

UPLOAD = r"/origin_tls_client_auth$"
SIGNATURE = r"/certificates$"
REFUSED = 1  # the engine's exit code when a program fails
KINDS = {"edge-client": UPLOAD, "edge-origin": SIGNATURE}


def lose_answer(site: Site, path: str, **more: float) -> None:
    site.cloud.fail(service="cloudflare", method="POST", path=path, drop="answer", times=1, **more)


def test_a_client_certificate_whose_answer_was_lost_is_removed_and_uploaded_again(site: Site) -> None:
    lose_answer(site, UPLOAD)
    for _ in range(2):
        run = site.up(expect=1)
        assert any("already exists for this zone" in message for message in run.errors), run.errors

    report = site.recover()

    assert len(report["removed_certificates"]) == 1
    assert report["foreign_certificates"] == []
    site.up()
    site.check_whole(1)


def test_a_members_certificate_that_was_signed_twice_is_revoked_once(site: Site) -> None:
    lose_answer(site, SIGNATURE)
    site.up()
    assert len(site.cloud.inventory()["certificates"]) == 3

    assert len(site.recover()["removed_certificates"]) == 1

    site.check_whole(1)
    assert site.recover()["removed_certificates"] == []
    assert site.act("preview", "--expect-no-changes").changes == {}


@pytest.mark.parametrize("name", KINDS)
def test_a_certificate_whose_creation_was_cut_off_is_adopted(site: Site, name: str) -> None:
    site.cloud.fail(service="cloudflare", method="POST", path=KINDS[name], drop="answer", latency_seconds=0)
    began = now()
    with site.started("up", "--skip-preview") as (engine, _):
        until(lambda: any(asked(site, began, name)), f"the request for {name}")
        engine.kill()
    site.cloud.calm()

    assert [urn.rpartition("::")[2] for urn in site.recover()["adopted"] if urn.endswith(name)] == [name]

    began = now()
    site.up()
    assert not any(asked(site, began, name)), "it is made once"
    site.check_whole(1)
    assert site.act("preview", "--expect-no-changes").changes == {}


def asked(site: Site, since: float, name: str) -> list[bool]:
    end = KINDS[name].strip("$")
    return [
        True
        for request in site.cloud.changes(since)
        if request.method == "POST" and request.path.endswith(end)
    ]


def test_a_zone_with_somebody_elses_certificate_is_refused_before_anything_is_made(site: Site) -> None:
    config = site.cloud.config
    edge = Cloudflare.at(f"http://127.0.0.1:{config.port}/client/v4", config.cloudflare_token)
    name = site.config["flotilla:edge"]["zone"]
    zone = edge.zone_id(name)
    key = new_key()
    pair = {"certificate": self_signed_pem(key, "Somebody"), "private_key": private_pem(key)}
    made = edge.api.call("POST", f"/zones/{zone}/origin_tls_client_auth", body=pair)["result"]
    began = now()

    run = site.act("preview", expect=REFUSED)

    [line] = [line for line in run.printed.splitlines() if "flotilla:edge.zone" in line]
    assert f'"{name}"' in line
    assert "give this stack a zone of its own" in line
    report = site.recover()
    assert (report["removed_certificates"], report["foreign_certificates"]) == ([], [made["id"]])
    assert site.cloud.changes(began) == []
