"""The command `rlm`: an outer room, built on the library's public names alone."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command; imported late so that this package costs nothing."""
    try:
        from rlm.cli.command import cli

        cli()
    except KeyboardInterrupt:  # before a command was there to end in its own way
        print("rlm: cancelled", file=sys.stderr)
        raise SystemExit(130) from None
