"""`rlm demo`: an RLM over the source of Python's own standard library, with a stand-in in the model's place."""

from __future__ import annotations

import platform
import shlex
import shutil
import sys
import sysconfig
import textwrap

from rlm.cli import exits
from rlm.cli.inputs import InputError, Inputs, read_inputs
from rlm.cli.running import Outcome, Run, execute, report
from rlm.cli.standin import QUESTION, StandIn
from rlm.cli.terminal import say, watched, write

EXCLUDED = ("site-packages", "dist-packages")
# Source code of this kind; prose has about four.
CHARACTERS_PER_TOKEN = 3.5


def show(*, environment: str, log: str | None, pace: float, debug: bool = False) -> int:
    """Run the demo; gives the exit code."""
    write("A stand-in plays the model's part, so no key is needed; all the rest is real.")
    pattern = f"{sysconfig.get_path('stdlib')}/**/*.py"
    try:
        inputs = read_inputs([pattern], EXCLUDED)
    except InputError as error:
        say(f"rlm: this Python carries no source of its standard library: {error}")
        return exits.SETUP
    write(wrapped(f"Input: {describe(inputs)}"))
    write(wrapped(f"Question: {QUESTION}") + "\n")
    outcome = ask(inputs.context, environment=environment, log=log, pace=pace, debug=debug)
    code = report(outcome)
    if outcome.error is None:
        if log is None:
            write("\nTo look at it turn by turn: rlm demo --log logs && rlm view logs")
        else:
            write(f"\nTo look at it turn by turn: rlm view {shlex.quote(log)}")
        write(f"The same question to a real model, over the same input (set OPENAI_API_KEY first):\n{command(pattern)}")
    return code


def describe(inputs: Inputs) -> str:
    size, tokens = inputs.characters / 1e6, inputs.characters / CHARACTERS_PER_TOKEN / 1e6
    rate = f"estimated at {CHARACTERS_PER_TOKEN} characters each"
    return (
        f"the source of Python {platform.python_version()}'s standard library: {len(inputs.context):,} files, "
        f"{size:.1f} million characters, about {tokens:.1f} million tokens ({rate})."
    )


def wrapped(text: str) -> str:
    return textwrap.fill(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text


def ask(context: object, *, environment: str, log: str | None, pace: float = 0.0, debug: bool = False) -> Outcome:
    """Put the demo's question to the stand-in, over any library's source: relative path → text."""
    return execute(
        Run(
            context=context,
            question=QUESTION,
            options={"backend": StandIn(pace), "environment": environment},
            log=log,
            live=watched(),
            debug=debug,
        )
    )


def command(pattern: str) -> str:
    excluded = " ".join(f"--exclude {name}" for name in EXCLUDED)
    return f"  rlm ask {shlex.quote(QUESTION)} {shlex.quote(pattern)} {excluded} --model openai/gpt-5-mini"
