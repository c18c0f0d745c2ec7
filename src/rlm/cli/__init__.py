"""The command `rlm`: an outer room, built on the library's public names alone."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Entry point of the command; imported late so that this package costs nothing."""
    try:
        from rlm.cli.command import cli

        cli()
    except KeyboardInterrupt:  # before a command was there to end in its own way
        print("rlm: cancelled", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        _before_the_end()


def _before_the_end() -> None:
    """While the interpreter ends, Ctrl-C would be a traceback and no end; and what stderr holds and cannot be written
    would be an exit code of its own."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if (stderr := sys.stderr) is None:
        return
    try:
        stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stderr.fileno())
