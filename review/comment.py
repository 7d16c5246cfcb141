"""A report as the Markdown of one comment on a pull request.

Every word of a report may come from a stranger. All of them stand in code spans or fenced blocks, where Markdown
has no links, pictures, mentions or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from review.report import OPERATIONS, Change, Report, StackReport

# "Body is too long (maximum is 65536 characters)": what the API answers to a longer one, as in
# https://github.com/pulumi/actions/issues/1252
MAX_CHARACTERS: Final = 65_536
# What a diff, or an error, is always given.
_LEAST: Final = 2_000
_SIGNS: Final = {"delete": "➖", "replace": "♻️", "update": "✏️", "import": "📥", "read": "📖", "create": "➕"}
_NUMBERED: Final = re.compile(r"(.*?)(\d+)(.*)")


@dataclass(frozen=True, slots=True)
class Heading:
    """What the writer of the comment knows by itself."""

    marker: str  # finds the comment again; letters and -
    title: str
    head: str  # the commit that was previewed


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of preview: one comment each."""

    marker: str
    title: str

    def of(self, head: str) -> Heading:
        return Heading(self.marker, self.title, head)


HEADINGS: Final = {
    "sandbox": Kind("preview", "Preview on a cloud of its own"),
    "clouds": Kind("preview-clouds", "Preview on the real clouds"),
}


def marker_line(marker: str) -> str:
    """The comment's first line; nobody sees it."""
    return f"<!-- flotilla: {marker} -->"


def render(report: Report, heading: Heading, limit: int = MAX_CHARACTERS) -> str:
    """The comment, never longer than `limit` characters. What is left out is said; what would be deleted or replaced
    is left out only when there is more of it than fits."""
    start = f"{marker_line(heading.marker)}\n### {heading.title}\n\n"
    if report.stacks and all(stack.quiet for stack in report.stacks):
        names = " and ".join(code(stack.name) for stack in report.stacks)
        return f"{start}No changes in {names} ({code(heading.head[:12])}).\n"[:limit]
    against = f" against {code(report.base[:12])}" if report.base else " against empty accounts"
    body = [f"{start}{code(heading.head[:12])}{against}.\n", _table(report.stacks)]
    lists = [_list(stack) for stack in report.stacks]
    room = limit - sum(len(part) + 1 for part in body)
    folded = [stack for stack in report.stacks if stack.diff]
    # Lists first; diffs share what is left.
    lists = list(_fitted(lists, room - _LEAST * len(folded)))
    room -= sum(len(text) + 1 for text in lists)
    diffs = dict(zip((stack.name for stack in folded), _diffs(folded, room), strict=True))
    for stack, text in zip(report.stacks, lists, strict=True):
        body += [text, diffs.get(stack.name, "")]
    return "\n".join(part for part in body if part)[:limit]


def code(text: str) -> str:
    """Text as a code span, whatever is in it."""
    plain = " ".join(printable(text).split()) or " "
    ticks = "`" * (_longest_run(plain) + 1)
    pad = " " if plain[0] == "`" or plain[-1] == "`" else ""
    return f"{ticks}{pad}{plain}{pad}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """Text as a block of code, whatever is in it."""
    plain = printable(text).rstrip()
    fence = "`" * max(3, _longest_run(plain) + 1)
    return f"{fence}{language}\n{plain}\n{fence}\n"


def printable(text: str) -> str:
    """Without control characters, invisible ones and those that turn the direction of writing."""
    return "".join(letter for letter in text.expandtabs(4) if letter == "\n" or letter.isprintable())


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def _table(stacks: Sequence[StackReport]) -> str:
    used = [operation for operation in OPERATIONS if any(operation in stack.tally for stack in stacks)] or [
        "create"
    ]
    rows = [
        "| stack | "
        + " | ".join(f"{_SIGNS[operation]} {operation}" for operation in used)
        + " | unchanged |",
        "|---|" + "---:|" * (len(used) + 1),
    ]
    for stack in stacks:
        if stack.failed is not None:
            cells = ["cannot be previewed", *[""] * len(used)]
        else:
            cells = [*(str(stack.tally.get(operation, 0)) for operation in used), str(stack.unchanged)]
        name = code(stack.name).replace("|", "\\|")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _list(stack: StackReport) -> str:
    """A heading, then a line for each kind of change; those that destroy come first."""
    lines = [f"#### {code(stack.name)}\n"]
    lines += [f"> {code(note)}\n" for note in stack.notes]
    if stack.failed is not None:
        lines.append("It cannot be previewed:\n\n" + fenced(stack.failed))
    elif not stack.changes:
        lines.append("No changes.\n")
    lines += _groups(stack.changes)
    return "\n".join(lines) + "\n"


def _groups(changes: Iterable[Change]) -> Iterator[str]:
    groups: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for change in changes:
        groups.setdefault((change.operation, change.type, change.reasons), []).append(change.name)
    # The engine's order within an operation: machines before what is run on them.
    for (operation, kind, reasons), names in sorted(
        groups.items(), key=lambda item: OPERATIONS.index(item[0][0])
    ):
        why = f" because of {', '.join(code(reason) for reason in reasons)}" if reasons else ""
        shown = ", ".join(code(name) for name in in_ranges(names))
        yield f"- {_SIGNS[operation]} {operation} {shown}{why} ({code(kind.rpartition(':')[2])})"


def in_ranges(names: Sequence[str]) -> Iterator[str]:
    """Names in order, three or more that only count up as one: `web-1..40-gate`."""
    runs: list[tuple[str, int, int, str]] = []
    for name in sorted(names, key=_natural):
        match = _NUMBERED.fullmatch(name)
        if match is None or (len(match[2]) > 1 and match[2][0] == "0"):
            runs.append((name, 0, -1, ""))
            continue
        head, number, tail = match[1], int(match[2]), match[3]
        if runs and (runs[-1][0], runs[-1][3]) == (head, tail) and runs[-1][2] + 1 == number:
            runs[-1] = (head, runs[-1][1], number, tail)
        else:
            runs.append((head, number, number, tail))
    for head, first, last, tail in runs:
        if last - first >= 2:
            yield f"{head}{first}..{last}{tail}"
        else:
            yield from (f"{head}{number}{tail}" for number in range(first, last + 1))
            if last < first:
                yield head


def _natural(name: str) -> tuple[str, int]:
    """Names that only count up, beside each other and by number."""
    match = _NUMBERED.fullmatch(name)
    return (name, 0) if match is None else (f"{match[1]}\0{match[3]}", int(match[2][:9]))


def _fitted(lists: Sequence[str], room: int) -> Iterator[str]:
    """Lists cut so that they fit together; each may take what those before it have left."""
    for position, text in enumerate(lists):
        others = sum(min(len(other), _LEAST) + 1 for other in lists[position + 1 :])
        kept = _cut(text, room - others)
        room -= len(kept) + 1
        yield kept


def _diffs(stacks: Sequence[StackReport], room: int) -> Iterator[str]:
    """Folded diffs, short ones whole; long ones share the room that is left."""
    waiting = sorted(stacks, key=lambda stack: len(stack.diff))
    kept: dict[str, str] = {}
    for position, stack in enumerate(waiting):
        kept[stack.name] = _folded(stack, room // (len(waiting) - position))
        room -= len(kept[stack.name]) + 1
    return (kept[stack.name] for stack in stacks)


def _folded(stack: StackReport, room: int) -> str:
    title = f"<details><summary>Diff of {_plain(stack.name)}</summary>\n\n"
    note = "\n... cut here: the whole diff is in the run's log and its artifact"
    diff = printable(stack.diff).rstrip()
    whole = f"{title}{fenced(diff)}\n</details>\n"
    over = len(whole) - room
    if over <= 0:
        return whole
    keep = len(diff) - over - len(note)
    if keep < _LEAST // 4:
        return "(The diff does not fit here; it is in the run's log and its artifact.)\n"
    return f"{title}{fenced(diff[:keep] + note)}\n</details>\n"


def _plain(text: str) -> str:
    """A name where HTML and not Markdown is read."""
    return re.sub(r"[^A-Za-z0-9._-]", "?", text)


def _cut(text: str, room: int) -> str:
    """Whole lines of a list as far as they fit, and a note about the rest; a fence that is open is closed."""
    if len(text) <= room:
        return text
    note = "\n\n(Cut here: the comment has no more room. All of it is in the run's log and its artifact.)\n"
    lines, used = [], len(note) + 20
    for line in text.split("\n"):
        used += len(line) + 1
        if used > room:
            break
        lines.append(line)
    fence = _open_fence(lines)
    return "\n".join([*lines, *([fence] if fence else [])]) + note


def _open_fence(lines: Sequence[str]) -> str | None:
    """The line that ends the block of code in which these lines stop, if they do."""
    fence: str | None = None
    for line in lines:
        if fence is None and (match := re.match(r"`{3,}", line)):
            fence = match[0]
        elif line == fence:
            fence = None
    return fence
