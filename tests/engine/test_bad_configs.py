"""Wrong stack configs through the real engine: one clear line each, all at once, and nothing is made."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.local_cloud import LocalCloud
from tests.engine.site import Run, Site, Template, now

pytestmark = pytest.mark.engine


@pytest.fixture
def site(module_site: Site) -> Iterator[Site]:
    """A stack that was never up, its config as it should be."""
    kept = copy.deepcopy(module_site.settings)
    yield module_site
    module_site.settings = kept
    module_site.variables.clear()
    module_site.write()


def refused(site: Site) -> Run:
    """An `up` that must fail without a change and without a traceback."""
    began = now()
    run = site.up(expect=1)
    assert "Traceback" not in run.printed
    assert site.cloud.changes(began) == []
    assert [row["urn"] for row in site.state() if not row["type"].startswith("pulumi:")] == []
    return run


def test_all_mistakes_are_named_at_once_with_key_value_and_fix(site: Site) -> None:
    site.config["flotilla:webb"] = {"count": 1}
    site.config["flotilla:admin"] = {"cidrs": ["0.0.0.0/0"], "ssh_keys": []}
    site.set("web", cuont=3, count=0)
    run = refused(site)
    assert f"stack {site.stack} has 4 mistakes in its config; nothing was changed:" in run.printed
    for line in ("flotilla:webb", "flotilla:admin.cidrs", "flotilla:web.cuont", "flotilla:web.count = 0"):
        assert any(line in text for text in run.errors), line


def test_what_the_cloud_does_not_have_is_named_with_what_it_has(site: Site) -> None:
    site.set("web", image="web-2026.11.21-0000", size="s-1vcpu-1bg")
    run = refused(site)
    assert (
        'flotilla:web.size = "s-1vcpu-1bg": the cloud has no such size; did you mean s-1vcpu-1gb?'
        in run.printed
    )
    image = 'flotilla:web.image = "web-2026.11.21-0000": there is no such image; `fleet bake web` makes one'
    assert image in run.printed


def test_a_seed_in_plain_is_refused_and_not_shown(site: Site) -> None:
    site.config["flotilla:seed"] = site.template.seed
    site.write()
    run = refused(site)
    assert "flotilla:seed is a secret but stands in plain" in run.printed
    assert site.template.seed not in run.printed


def test_a_wrong_passphrase_is_said_in_a_line(site: Site) -> None:
    site.variables["PULUMI_CONFIG_PASSPHRASE"] = "another"
    assert "incorrect passphrase" in site.up(expect=1).printed


def test_production_says_in_one_line_what_is_missing(
    simulation: LocalCloud, template: Template, tmp_path: Path
) -> None:
    site = Site.create(tmp_path / "program", simulation, template, "prod", example="prod")
    site.set("web", image=template.images["web"])
    run = refused(site)
    [line] = [text.strip() for text in run.printed.splitlines() if text.startswith("      ")]
    assert line.startswith("flotilla:autoscaler.image is missing: ")
    assert "fleet bake autoscaler" in line
