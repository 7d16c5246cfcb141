"""What a test of visitors asserts."""

from __future__ import annotations

from tests.load.report import Ledger, Report
from tests.load.visitors import Visitors

_SHOWN = 5


def unharmed(seen: Visitors) -> Report:
    """Every visit was answered by the site, and every POST was recorded once."""
    report, ledger = seen.result()
    assert report.requests > 0, "nobody came"
    assert report.failures == (), failures(report)
    assert ledger == Ledger(doubled=(), lost=())
    return report


def failures(report: Report) -> str:
    """How many visits failed and how, with the first ones in full."""
    shown = "\n".join(
        f"at {failure.at - report.started:.2f} s: {failure}" for failure in report.failures[:_SHOWN]
    )
    return f"{len(report.failures)} of {report.requests} failed: {dict(report.failed)}\n{shown}"
