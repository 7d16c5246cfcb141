"""`scripts/preview`: what a change would do to each stack, as a comment for those who review it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from review import comment, sandboxed
from review.checkouts import CheckoutError, commit
from review.clouds import preview as preview_clouds
from review.report import Report

_ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Exit code: 0 all stacks previewed, 1 a stack cannot be previewed (the comment says why), 2 nothing could be
    tried at all."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        report = _report(options)
        text = comment.render(report, _heading(options))
    except (sandboxed.PreviewError, CheckoutError) as error:
        print(f"preview: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; nothing is left behind.", file=sys.stderr)
        return 130
    if options.json:
        options.json.write_text(report.write())
    if options.comment:
        options.comment.write_text(text)
    else:
        print(text, end="")
    return 1 if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/preview",
        description="Says what the working tree would do to each stack, as Markdown for a comment. No account is "
        "needed: the commit before is deployed to a cloud on this machine, the working tree is previewed against it, "
        "and all of that is removed again.",
        epilog="Exit codes: 0 previewed; 1 a stack cannot be previewed, the comment says why; 2 nothing could be tried.",
    )
    parser.add_argument(
        "--base",
        metavar="REF",
        help="the commit to compare with, such as origin/main; without it, empty accounts",
    )
    parser.add_argument(
        "--stack",
        action="append",
        default=[],
        metavar="NAME",
        help="only this stack; may be given more than once",
    )
    parser.add_argument(
        "--comment", type=Path, metavar="FILE", help="write the comment there; default: print it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found, as data")
    parser.add_argument(
        "--clouds",
        action="store_true",
        help="preview against the real clouds and stacks of this shell's environment instead; changes nothing there",
    )
    return parser


def _report(options: argparse.Namespace) -> Report:
    if options.clouds:
        return preview_clouds(_ROOT, options.stack, _say)
    return sandboxed.judge(sandboxed.Change(_ROOT, options.base, options.stack), _say)


def _heading(options: argparse.Namespace) -> comment.Heading:
    head = commit(_ROOT, "HEAD")
    return comment.HEADINGS["clouds" if options.clouds else "sandbox"].of(head)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    # As an exception it passes every `finally` on its way out.
    sys.exit(128 + number)


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
