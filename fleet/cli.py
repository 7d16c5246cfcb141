"""`fleet`: the operator's desk."""

from __future__ import annotations

import sys

import typer

from fleet.desk import bursts, controller, datastore, images, members, stacks
from fleet.errors import FleetError, StoppedError
from fleet.identity import SeedError

INTERRUPTED = StoppedError.exit_code

app = typer.Typer(
    name="fleet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Work on a stack of servers from the operator's desk: set it up, bake its images, recover it after a "
    "failed update. What a stack looks like is said in Pulumi.STACK.yaml and done by `pulumi up`.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another run is at work on the stack, 130 interrupted.",
)

app.command()(stacks.init)
app.command()(images.bake)
app.add_typer(images.shelf, name="images")
app.command()(images.promote)
app.add_typer(datastore.store, name="datastore")
app.command()(stacks.rollout)
app.command()(stacks.recover)
app.command()(members.status)
app.command()(controller.scale)
app.command()(controller.freeze)
app.command()(controller.unfreeze)
app.command()(controller.log)
app.command()(controller.sweep)
app.command()(members.fence)
app.command()(members.unfence)
app.command()(members.drain)
app.command()(members.peers)
app.command()(bursts.tell)
app.command()(members.canary)


def main() -> None:
    """The console script: errors as one text on stderr, never a traceback for what an operator can mend."""
    try:
        app()
    except FleetError as error:
        print(f"fleet: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (SeedError, OSError) as error:
        # A full disk, a file that may not be read: the text names the file.
        print(f"fleet: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("fleet: interrupted; run the same command again to go on", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
