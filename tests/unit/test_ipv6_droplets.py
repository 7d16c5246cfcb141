"""Which machines ask for public IPv6 addresses."""

from __future__ import annotations

import pytest

from tests.unit.test_program import run
from tests.unit.test_settings import with_value


@pytest.mark.parametrize("wanted", [True, False])
def test_every_machine_has_ipv6_or_none(wanted: bool) -> None:
    recording = run(with_value("cloud.ipv6", wanted))
    asked = {slot: recording.named(slot).inputs["ipv6"] for slot in ("web-1", "web-2", "database-1")}
    assert asked == dict.fromkeys(asked, wanted)
