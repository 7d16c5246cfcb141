"""What a preview found, as data: written where a change is tried, read where that is told to people.

The two places trust each other in one direction only. A pull request of a stranger runs its own code, so what it
reports may be anything; `read` takes nothing but a document of this form and these sizes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

VERSION: Final = 1
# A whole comment has 65,536 characters; some of what does not fit in it may still be cut there.
MAX_BYTES: Final = 1024 * 1024
MAX_STACKS: Final = 20
MAX_CHANGES: Final = 20_000
MAX_REASONS: Final = 20
MAX_NAME: Final = 200
MAX_TEXT: Final = 400_000

# As the engine names them; the order in which they are told, most dangerous first.
OPERATIONS: Final = ("delete", "replace", "update", "import", "read", "create")


class ReportError(ValueError):
    """The document is no report; the text says where it differs."""


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one resource. `reasons` are the properties that cause it."""

    operation: str
    type: str
    name: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StackReport:
    """What would happen to one stack.

    `failed`: why it cannot be previewed. `notes`: what a reader must know about how this was found.
    """

    name: str
    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    diff: str = ""
    failed: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def tally(self) -> Mapping[str, int]:
        """How many resources by operation; operations of which there are none are left out."""
        counts = dict.fromkeys(OPERATIONS, 0)
        for change in self.changes:
            counts[change.operation] += 1
        return {operation: count for operation, count in counts.items() if count}

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to say of it."""
        return not (self.changes or self.failed or self.notes)


@dataclass(frozen=True, slots=True)
class Report:
    """What would happen to all stacks."""

    stacks: tuple[StackReport, ...]
    base: str | None = None  # what was deployed before, None: nothing

    @property
    def failed(self) -> bool:
        return any(stack.failed is not None for stack in self.stacks)

    def write(self) -> str:
        """One JSON document. Diffs that are too long for `read` are cut."""
        document = {"version": VERSION, **asdict(self)}
        for stack in document["stacks"]:
            stack["diff"] = stack["diff"][:MAX_TEXT]
        return json.dumps(document, indent=1) + "\n"


def read(content: bytes) -> Report:
    """The report in a document from anybody. Raises ReportError."""
    if len(content) > MAX_BYTES:
        raise ReportError(f"has {len(content)} bytes; a report has at most {MAX_BYTES}")
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ReportError(f"is no JSON document: {error}") from error
    fields = _Fields(document, "the report", {"version", "base", "stacks"})
    if fields.number("version") != VERSION:
        raise ReportError(f"has version {fields.number('version')}; this program reads version {VERSION}")
    stacks = fields.list("stacks", MAX_STACKS)
    return Report(tuple(_stack(stack) for stack in stacks), base=fields.optional_text("base", MAX_NAME))


def _stack(document: Any) -> StackReport:
    known = {"name", "changes", "unchanged", "diff", "failed", "notes"}
    fields = _Fields(document, "a stack", known)
    return StackReport(
        name=fields.text("name", MAX_NAME),
        changes=tuple(_change(change) for change in fields.list("changes", MAX_CHANGES)),
        unchanged=fields.number("unchanged"),
        diff=fields.text("diff", MAX_TEXT),
        failed=fields.optional_text("failed", MAX_TEXT),
        notes=tuple(_text(note, "a note", MAX_TEXT) for note in fields.list("notes", MAX_STACKS)),
    )


def _change(document: Any) -> Change:
    fields = _Fields(document, "a change", {"operation", "type", "name", "reasons"})
    operation = fields.text("operation", MAX_NAME)
    if operation not in OPERATIONS:
        raise ReportError(f"a change's operation is none of {', '.join(OPERATIONS)}")
    reasons = fields.list("reasons", MAX_REASONS)
    return Change(
        operation=operation,
        type=fields.text("type", MAX_NAME),
        name=fields.text("name", MAX_NAME),
        reasons=tuple(_text(reason, "a reason", MAX_NAME) for reason in reasons),
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """An object with exactly the known keys."""

    document: Any
    what: str
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not isinstance(self.document, dict) or set(self.document) != self.known:
            raise ReportError(f"{self.what} must be an object with {', '.join(sorted(self.known))}")

    def number(self, key: str) -> int:
        value = self.document[key]
        if type(value) is not int or not 0 <= value <= 10**9:
            raise ReportError(f"{key} of {self.what} must be a number from 0 to 1,000,000,000")
        return value

    def text(self, key: str, limit: int) -> str:
        return _text(self.document[key], f"{key} of {self.what}", limit)

    def optional_text(self, key: str, limit: int) -> str | None:
        return None if self.document[key] is None else self.text(key, limit)

    def list(self, key: str, limit: int) -> list[Any]:
        value = self.document[key]
        if not isinstance(value, list) or len(value) > limit:
            raise ReportError(f"{key} of {self.what} must be a list of at most {limit}")
        return value


def _text(value: Any, what: str, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise ReportError(f"{what} must be text of at most {limit} characters")
    return value
