"""The comment on a pull request: what it shows, what it folds, and what no stranger's text can do in it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from review import comment, events, hiding
from review.report import OPERATIONS, Change, Report, ReportError, StackReport, read

HEAD = "0123456789abcdef0123456789abcdef01234567"
HEADING = comment.HEADINGS["sandbox"].of(HEAD)
DROPLET = "digitalocean:index/droplet:Droplet"


def render(*stacks: StackReport, base: str | None = "feedbeef", limit: int = comment.MAX_CHARACTERS) -> str:
    return comment.render(Report(stacks, base), HEADING, limit)


def test_a_change_is_told_by_stack_with_its_tally_its_names_and_a_folded_diff() -> None:
    changes = (
        Change("create", DROPLET, "web-4"),
        Change("replace", DROPLET, "web-1", ("image",)),
        Change("replace", DROPLET, "web-2", ("image",)),
        Change("delete", DROPLET, "web-3"),
    )
    text = render(StackReport("prod", changes, 12, diff="+ image"), StackReport("dev", unchanged=20))
    assert text.startswith("<!-- flotilla: preview -->\n")
    assert "| stack | ➖ delete | ♻️ replace | ➕ create | unchanged |" in text
    assert "| `prod` | 1 | 2 | 1 | 12 |" in text
    assert "| `dev` | 0 | 0 | 0 | 20 |" in text
    listed = [line for line in text.splitlines() if line.startswith("- ")]
    assert listed == [
        "- ➖ delete `web-3` (`Droplet`)",
        "- ♻️ replace `web-1`, `web-2` because of `image` (`Droplet`)",
        "- ➕ create `web-4` (`Droplet`)",
    ]
    assert "<details><summary>Diff of prod</summary>\n\n```\n+ image\n```\n\n</details>" in text
    assert "Diff of dev" not in text


def test_no_change_at_all_is_one_line() -> None:
    text = render(StackReport("dev", unchanged=3), StackReport("prod", unchanged=9))
    lines = [line for line in text.splitlines() if line and not line.startswith(("<!--", "###"))]
    assert lines == ["No changes in `dev` and `prod` (`0123456789ab`)."]


def test_a_stack_that_cannot_be_previewed_says_why() -> None:
    text = render(StackReport("prod", failed="flotilla:web.count = 0: must be 1 or more"), StackReport("dev"))
    assert "| `prod` | cannot be previewed |" in text
    assert "It cannot be previewed:\n\n```\nflotilla:web.count = 0: must be 1 or more\n```" in text


def test_names_that_count_up_are_told_as_ranges() -> None:
    names = [
        "web-10",
        "web-9",
        "web-1",
        "web-8",
        "web-2-dns",
        "web-1-dns",
        "web-3-dns",
        "firewall",
        "key-007",
    ]
    assert list(comment.in_ranges(names)) == [
        "firewall",
        "key-007",
        "web-1",
        "web-8..10",
        "web-1..3-dns",
    ]


def test_five_hundred_changes_fit_and_nothing_that_destroys_is_cut() -> None:
    changes = [Change(("create", "update")[n % 2], DROPLET, f"thing-{n}-{'x' * 150}") for n in range(400)]
    changes += [
        Change(("delete", "replace")[n % 2], DROPLET, f"gone-{chr(97 + n % 26) * 3}-{n}") for n in range(100)
    ]
    big = StackReport("prod", tuple(changes), diff="d" * 300_000)
    text = render(big, StackReport("dev", (Change("delete", DROPLET, "web-1"),), diff="e" * 1000))
    assert len(text) <= comment.MAX_CHARACTERS
    for change in changes:
        if change.operation in {"delete", "replace"}:
            assert f"`{change.name}`" in text
    assert "- ➖ delete `web-1` (`Droplet`)" in text
    assert "Cut here" in text or "cut here" in text


def test_a_long_diff_is_cut_with_a_note_and_a_short_one_is_whole() -> None:
    one = Change("create", DROPLET, "web-1")
    text = render(StackReport("dev", (one,), diff="short"), StackReport("prod", (one,), diff="d" * 300_000))
    assert 60_000 < len(text) <= comment.MAX_CHARACTERS
    assert "```\nshort\n```" in text
    assert "ddd\n... cut here: the whole diff is in the run's log and its artifact\n```" in text
    assert text.count("<details>") == text.count("</details>") == 2


HOSTILE = "``` \n</details> @everyone [x](https://evil.example) <img src=x> ![y](z) ````\x1b[31m\u202e|`~~~"


def without_code(text: str) -> str:
    """What GitHub reads as Markdown and HTML: neither fenced blocks nor code spans."""
    text = re.sub(r"^(`{3,})\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", text)


@given(st.lists(st.sampled_from([*"`<>@[]!|~\n ", HOSTILE, "a", "</details>"]), min_size=1).map("".join))
def test_text_of_strangers_is_never_markdown(text: str) -> None:
    change = Change("replace", text, text, (text,))
    stack = StackReport(text, (change,), diff=text, failed=text, notes=(text,))
    shown = render(stack, stack, base=text)
    outside = without_code(shown.partition("\n")[2])
    assert not set(outside) & set("@[]!~\x1b\u202e")
    assert set(re.findall(r"</?\w+", outside)) <= {"<details", "</details", "<summary", "</summary"}


@given(st.integers(2_000, 70_000), st.text(max_size=3000), st.integers(1, 6))
def test_the_limit_holds_for_anything(limit: int, text: str, count: int) -> None:
    change = Change("create", text[:200], text[:200])
    stack = StackReport(text[:50] or "a", (change,) * 30, diff=text * 30, failed=text * 5)
    assert len(render(*[stack] * count, limit=limit)) <= limit


def test_a_report_is_read_as_it_was_written() -> None:
    change = Change("replace", DROPLET, "web-1", ("image",))
    report = Report((StackReport("dev", (change,), 3, "diff", None, ("note",)),), "base")
    assert read(report.write().encode()) == report


GOOD = json.loads(Report((StackReport("dev", (Change("create", DROPLET, "web-1"),)),)).write())


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": True},
        {"stacks": "dev"},
        {"stacks": GOOD["stacks"] * 30},
        {"stacks": [GOOD["stacks"][0] | {"unchanged": -1}]},
        {"stacks": [GOOD["stacks"][0] | {"diff": None}]},
        {"stacks": [GOOD["stacks"][0] | {"more": 1}]},
        {"stacks": [GOOD["stacks"][0] | {"name": "a" * 201}]},
        {"stacks": [GOOD["stacks"][0] | {"changes": [{"operation": "explode"}]}]},
        {
            "stacks": [
                GOOD["stacks"][0] | {"changes": [GOOD["stacks"][0]["changes"][0] | {"operation": "same"}]}
            ]
        },
        {"base": ["a"]},
    ],
    ids=str,
)
def test_a_document_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ReportError):
        read(json.dumps(GOOD | change).encode())


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"null", b" " * 2_000_000], ids=len)
def test_what_is_no_document_is_refused(content: bytes) -> None:
    with pytest.raises(ReportError):
        read(content)


def step(operation: str, name: str, **more: object) -> dict[str, object]:
    urn = f"urn:pulumi:dev::flotilla::{DROPLET}::{name}"
    return {"resourcePreEvent": {"metadata": {"op": operation, "urn": urn, "type": DROPLET, **more}}}


def test_changes_are_read_from_the_engines_events() -> None:
    log = [
        step("same", "web-3"),
        step("create-replacement", "web-1", keys=["image"]),
        step("replace", "web-1", keys=["image"], diffs=["image", "name"]),
        step("update", "web-2", diffs=["tags"]),
        step("delete-replaced", "web-1"),
        {"summaryEvent": {"resourceChanges": {"same": 1, "replace": 1, "update": 1}}},
        {"diagnosticEvent": {"severity": "error", "message": "no\n"}},
        {"diagnosticEvent": {"severity": "warning", "message": "hm"}},
    ]
    found = events.decode("\n".join(json.dumps(event) for event in log) + '\n{"cut')
    assert events.changes(found) == (
        Change("replace", DROPLET, "web-1", ("image",)),
        Change("update", DROPLET, "web-2", ("tags",)),
    )
    assert events.unchanged(found) == 1
    assert events.errors(found) == ["no"]
    assert set(OPERATIONS) >= {"create", "update", "replace", "delete"}


def test_a_diff_names_resources_and_not_where_their_providers_are() -> None:
    printed = "    +-Droplet: (replace)\n        [urn=urn:pulumi:dev::a::b::web-1]\n        [provider=urn:x::y]\n      ~ image"
    assert events.readable(printed) == "    +-Droplet: (replace)\n        [web-1]\n      ~ image"


def test_secrets_of_the_environment_are_hidden() -> None:
    environment = {"DIGITALOCEAN_TOKEN": "dop_v1_0123456789", "HOME": "dop_v1", "OTHER_TOKEN": "short"}
    shown = hiding.hide("a dop_v1_0123456789 b ZG9wX3YxXzAxMjM0NTY3ODk= short", environment)
    assert shown == "a [secret] b [secret] short"


def test_paths_of_this_machine_are_left_out_even_where_they_are_cut() -> None:
    text = 'exec /tmp/x/project/.venv/bin/python; exec /tmp/x/pro..." and /tmp/x/project/...'
    assert hiding.without_path(text, Path("/tmp/x/project")) == 'exec .venv/bin/python; exec ..." and ...'
