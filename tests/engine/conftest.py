"""One sandbox with simulated machines for all tests of the ring, and a stack of its own for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytest.register_assert_rewrite(
    "tests.engine.kill",
    "tests.engine.local_cloud",
    "tests.engine.rollouts",
    "tests.engine.site",
    "tests.engine.visitors",
)

from tests.engine.kill import Point  # noqa: E402
from tests.engine.local_cloud import LocalCloud, local_cloud  # noqa: E402 - after its asserts may be rewritten
from tests.engine.own_network import own_network  # noqa: E402
from tests.engine.rollouts import Rollouts  # noqa: E402
from tests.engine.site import Site, Template, make_images, make_template  # noqa: E402


@pytest.fixture(scope="package")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A sandbox with simulated machines and golden images in the account."""
    with (
        own_network(),
        local_cloud(tmp_path_factory.mktemp("sandbox") / "home", machines="simulated") as cloud,
    ):
        make_images(cloud)
        yield cloud


@pytest.fixture(scope="package")
def template(simulation: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("template") / "program", simulation)


@pytest.fixture(scope="package")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture(scope="module")
def module_site(
    simulation: LocalCloud,
    template: Template,
    numbers: Iterator[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A stack that the tests of a module share."""
    number = next(numbers)
    root = tmp_path_factory.mktemp("site") / "program"
    yield Site.numbered(root, simulation, template, number)
    simulation.calm()
    simulation.wipe()


@pytest.fixture
def site(
    simulation: LocalCloud, template: Template, numbers: Iterator[int], tmp_path: Path
) -> Iterator[Site]:
    """A stack that was never up; whatever becomes of it is removed from the cloud afterwards."""
    number = next(numbers)
    yield Site.numbered(tmp_path / "program", simulation, template, number)
    simulation.calm()
    simulation.wipe()


@pytest.fixture(scope="module")
def rollouts(module_site: Site) -> Rollouts:
    return Rollouts.of(module_site)


@pytest.fixture(scope="module")
def points(rollouts: Rollouts) -> Sequence[Point]:
    return rollouts.points()
