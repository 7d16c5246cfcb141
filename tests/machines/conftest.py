"""One sandbox and one dev stack on it for the tests of whole stacks; made once, gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sandbox.network.plan import DESK6
from tests.live_sandbox import LiveSandbox, live_sandbox
from tests.live_stack import LiveStack

# Modules that share the stack, in this order: each leaves it serving, but for the last ones, which break and end it.
_ORDER = (
    "test_dev_stack",
    "test_dev_stack_variants",
    "test_managed_database_stack",
    "test_packets",
    "test_boot_window",
    "test_secrets",
    "test_sandbox_life",
    "test_dev_stack_end",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The shared stack's tests come last and together, so that it does not take memory from the others."""
    items.sort(key=lambda item: 1 + _ORDER.index(item.path.stem) if item.path.stem in _ORDER else 0)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LiveSandbox]:
    """Up, with an edge and a network of its own."""
    with live_sandbox("ring") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def stack(sandbox: LiveSandbox) -> Iterator[LiveStack]:
    """The dev stack as `make up` brings it up, images baked and one member serving, and with IPv6 besides."""
    with TemporaryDirectory(prefix="flotilla-project-") as root:
        stack = LiveStack.create(sandbox, Path(root) / "project", "dev")
        stack.configure("web.count", 1)
        stack.configure("cloud.ipv6", "true")
        stack.configure("admin.cidrs[1]", f"{DESK6}/128")
        stack.fleet("bake", "web", "database", "--stack", stack.name, "--missing")
        stack.up()
        yield stack
