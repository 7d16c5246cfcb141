"""docs/coverage.md says what the sandbox has, neither more nor less."""

from pathlib import Path

from sandbox.coverage import page


def test_page_is_made_from_the_code() -> None:
    written = (Path(__file__).resolve().parents[2] / "docs" / "coverage.md").read_text()
    assert written == page(), "run `python -m sandbox coverage > docs/coverage.md`"
