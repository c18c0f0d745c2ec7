"""How every command ends: with the exit codes that the help promises and one readable line."""

from __future__ import annotations

import contextlib
import errno
import sys
import warnings
from typing import Any, NoReturn

import click

from rlm.cli import exits
from rlm.cli.terminal import occupy, say, silence, watched

UNWRITABLE = (errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Commands(click.Group):
    """A group whose commands end so."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        occupy()
        try:
            return super().main(*arguments, **options)
        except OSError as error:
            failed(error)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.ClickException as error:
            wrong(error)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            cancelled()
        except click.ClickException as error:
            wrong(error)
        except BrokenPipeError:  # click's own affair
            raise
        except OSError as error:
            failed(error)


class Question(click.Command):
    """A command whose first argument is prose, and may begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)  # the parser takes from it
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if not any(word.startswith("-") and " " in word for word in given):
                raise
            words = f'{error.message} A question that begins with "-" goes after `--`.'
            raise click.NoSuchOption(error.option_name, words, error.possibilities, ctx) from None


def cancelled() -> NoReturn:
    if watched():
        say("")  # after the terminal's own ^C
    say("rlm: cancelled")
    # Ctrl-C may come between the making of a coroutine and its first step.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.exit(exits.INTERRUPTED)


def wrong(error: click.ClickException) -> NoReturn:
    """As click ends it, also where stderr does not take the words."""
    with contextlib.suppress(OSError):
        error.show()
    sys.exit(error.exit_code)


def failed(error: OSError) -> NoReturn:
    """The output cannot be written, or something else of the machine's failed where nobody expected it."""
    silence()
    output = error.filename is None and error.errno in UNWRITABLE
    say(f"rlm: the output cannot be written: {error.strerror}" if output else f"rlm: {error}")
    sys.exit(exits.FAILED)
