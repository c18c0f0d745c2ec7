"""The commands and their options. What a command needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rlm.cli.group import Commands, Question
from rlm.cli.terminal import Reading, one_line, say, watched

F = TypeVar("F", bound=Callable[..., Any])
LIMITS = (
    ("--max-budget", float, "DOLLARS", "Stop at this cost."),
    ("--max-tokens", int, "N", "Stop at this many tokens, input and output."),
    ("--max-timeout", float, "SECONDS", "Stop after this time."),
    ("--max-iterations", int, "N", "Turns of the root model.  [default: {turns}]"),
    ("--max-subcalls", int, "N", "Calls made from code."),
    ("--max-errors", int, "N", "Failing turns in a row."),
)
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EXIT_CODES = """\b
Exit codes:
  0    answered
  1    the run failed: the provider, the sandbox, a fault of ours; or stdout took no answer: it is on stderr
  2    wrong usage, or nothing to read
  3    a forced answer: the turns ran out, the model ran no code, or a limit was reached with on_limit=return
  4    a limit stopped the run (--max-budget, --max-tokens, --max-timeout, …)
  5    configuration or setup: an unknown name, a missing key, SDK or engine
  130  Ctrl-C: the trajectory is kept, the partial answer printed
"""


@click.group(cls=Commands, context_settings=CONTEXT, epilog=EXIT_CODES)
@click.version_option(package_name="rlm")
def cli() -> None:
    """Recursive Language Models: answers about inputs far larger than a model's window.

    The input becomes a variable in a Python REPL; the model writes code that looks at it, cuts it up and calls models
    on the pieces.

    \b
      rlm demo                    see one work; needs no key
      rlm doctor                  what works on this machine
      rlm ask "Which of these logs show a retry loop?" logs/
      git log -p | rlm ask "What changed in the API?" - --max-budget 0.50
      rlm view logs               look at what runs did
    """


def environments(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    from rlm.registry import environment_names

    return [name for name in environment_names() if name.startswith(begun)]


def environment_option(function: F) -> F:
    return click.option(
        "-e",
        "--environment",
        default="process",
        show_default=True,
        metavar="NAME",
        shell_complete=environments,
        help="Where the model's code runs (`rlm doctor` lists them). `local` is no sandbox: same process, same keys, "
        "and C code that holds the interpreter lock stalls it.",
    )(function)


def named(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A variable that is not set makes an empty name, and would quietly be no name."""
    if value == "":
        raise click.BadParameter("it is empty")
    return value


def log_option(function: F) -> F:
    text = "Write the run's trajectory there, as JSON lines."
    return click.option("--log", type=click.Path(readable=False), metavar="DIR", help=text, callback=named)(function)


def debug_option(function: F) -> F:
    return click.option("--debug", is_flag=True, help="Show a traceback where something fails.")(function)


def limit_options(*, turns: str) -> Callable[[F], F]:
    """The options of limits; `turns` is what holds where --max-iterations is not given."""

    def decorate(function: F) -> F:
        for name, kind, metavar, text in reversed(LIMITS):
            words = text.format(turns=turns)
            function = click.option(name, type=kind, metavar=metavar, help=words, callback=limit)(function)
        return function

    return decorate


def limit(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """The library's own check, in the words of the command."""
    from rlm.errors import ConfigurationError
    from rlm.limits import Limits

    if value is not None and option.name is not None:
        try:
            Limits(**{option.name: value})  # type: ignore[arg-type]
        except ConfigurationError as error:
            words = str(error).removeprefix(f"{option.name} ").replace(" or None for no limit", "")
            raise click.BadParameter(words) from error
    return value


@cli.command(cls=Question, epilog=EXIT_CODES, short_help="Ask a question about files, directories or stdin.")
@click.argument("question")
@click.argument("paths", nargs=-1, type=click.Path(allow_dash=True), metavar="[PATH]...")
@click.option(
    "-m",
    "--model",
    default="openai/gpt-5-mini",
    show_default=True,
    metavar="PROVIDER/NAME",
    envvar="RLM_MODEL",
    show_envvar=True,
    help="The root model.",
)
@click.option(
    "--sub-model", metavar="PROVIDER/NAME", help="The model for calls made from code.  [default: the root model]"
)
@environment_option
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out of directories what has such a name; repeatable."
)
@limit_options(turns="30")
@click.option(
    "--checkpoint",
    type=click.Path(readable=False),
    metavar="DIR",
    callback=named,
    help="Write down there what is paid for before it is used; `rlm resume DIR` goes on after a crash.",
)
@click.option(
    "-o",
    "--option",
    "others",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other parameter of rlm.RLM, VALUE being JSON or text: max_depth=2, cache=replies, "
    'environment_kwargs.image=python:3.13, \'backend_kwargs.price={"input": 0.2, "output": 2}\'; repeatable.',
)
@log_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout: response, value, status, usage, …")
@click.option("-q", "--quiet", is_flag=True, help="No live view and no notes, only errors.")
@debug_option
def ask(
    question: str,
    paths: tuple[str, ...],
    model: str,
    sub_model: str | None,
    environment: str,
    exclude: tuple[str, ...],
    checkpoint: str | None,
    others: tuple[str, ...],
    log: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
    **limits: float | None,
) -> None:
    """Ask QUESTION about files, directories, glob patterns, or `-` for standard input.

    The answer goes to stdout; on a terminal a live view goes to stderr. One file or standard input is a string to the
    model, a directory or several files a dictionary of relative path to text. Binary files are skipped and listed, and
    so are, in directories, symbolic links and what tools keep there (.git, .venv, node_modules, __pycache__, …).
    Nothing else is read. Without a PATH the question is all there is. A question that begins with - goes after `--`; a
    file that is called - is ./-.
    """
    from rlm.cli.inputs import InputError, ignored_input, read_inputs
    from rlm.cli.parameters import parameters
    from rlm.cli.running import Run, execute, report

    options: dict[str, Any] = {"model": model, "sub_model": sub_model, "environment": environment}
    options |= {"checkpoint": checkpoint, **limits}
    options |= parameters(others, options)
    if not question.strip():
        raise click.UsageError("the question is empty")
    if question == "-":
        raise click.UsageError('the question is "-": to ask about standard input, `rlm ask QUESTION -`')
    try:
        with Reading(shown=watched() and not quiet) as step:
            inputs = read_inputs(paths, exclude, step=step) if paths else None
    except InputError as error:
        raise click.UsageError(one_line(str(error))) from error
    if inputs is None and watched() and not quiet and ignored_input():
        say("rlm: standard input is not read: name it with `-`, after the question")
    if inputs is not None and not quiet:
        for note in inputs.notes:
            say(f"rlm: {note}")
    run = Run(
        context=question if inputs is None else inputs.context,
        question=None if inputs is None else question,
        options={name: value for name, value in options.items() if value is not None},
        log=log,
        live=watched() and not quiet,
        debug=debug,
    )
    prepare = None
    if checkpoint is not None:
        from rlm.cli.resume import save

        prepare = functools.partial(save, checkpoint, run)
    sys.exit(report(execute(run, prepare), as_json=as_json, quiet=quiet))


@cli.command(epilog=EXIT_CODES, short_help="Go on with a run of `ask --checkpoint` that was stopped or killed.")
@click.argument("directory", type=click.Path(), metavar="DIR")
@limit_options(turns="as it was begun")
@log_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, as `rlm ask` gives it.")
@click.option("-q", "--quiet", is_flag=True, help="No live view and no notes, only errors.")
@debug_option
def resume(directory: str, log: str | None, as_json: bool, quiet: bool, debug: bool, **limits: float | None) -> None:
    """Go on with the run whose checkpoint is in DIR: what was paid for is not paid for again.

    The limits given replace those it was begun with. A run that ended at a limit goes on from there; one that was
    answered is answered again, out of its journal.
    """
    from rlm.cli.resume import load
    from rlm.cli.running import execute, report
    from rlm.errors import ConfigurationError

    try:
        run = load(directory, limits, log=log, live=watched() and not quiet, debug=debug)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(report(execute(run), as_json=as_json, quiet=quiet))


@cli.command(short_help="See an RLM work on this machine's own input; no key.")
@environment_option
@log_option
@click.option("--fast", is_flag=True, help="The stand-in answers at once instead of taking a model's time.")
@debug_option
def demo(environment: str, log: str | None, fast: bool, debug: bool) -> None:
    """Watch an RLM work through the source of Python's own standard library. Needs no key.

    A stand-in plays the model's part; the REPL, the code that runs, the calls, usage and trajectory are real.
    """
    from rlm.cli.demo import show

    sys.exit(show(environment=environment, log=log, pace=0.0 if fast else 1.0, debug=debug))


@cli.command(short_help="Which backends and environments work here.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def doctor(names: tuple[str, ...]) -> None:
    """Which backends and environments work here, and for each that does not, the one thing to do.

    Asks nothing of any provider. Environments that cost money are started only when named. With NAMEs, exits with 5
    when one of them does not work.
    """
    from rlm.cli.doctor import examine

    sys.exit(examine(names))


@cli.command(short_help="Look at runs in the browser, or write one as a page.")
@click.argument("path", type=click.Path(path_type=Path), metavar="DIR_OR_FILE")
@click.option(
    "--export",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one run, or the only one of a directory, as a self-contained page.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="The port to serve at.  [default: a free one]"
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def view(path: Path, page: Path | None, port: int, no_browser: bool) -> None:
    """Look at the runs whose trajectories (*.jsonl) are in a directory, or at one, also while it goes on.

    The page is served on 127.0.0.1, to who knows its address, until Ctrl-C. With --export it is written as one file
    that needs neither a server nor a network; it holds the whole log, prompts and replies included.
    """
    from rlm.cli.viewing import export_page, only_log, serve

    if not path.exists():
        raise click.UsageError(one_line(f"{path} does not exist"))
    if page is not None and path.is_dir():
        try:
            path = only_log(path)
        except LookupError as error:
            raise click.UsageError(one_line(str(error))) from error
    sys.exit(export_page(path, page) if page is not None else serve(path, port=port, browser=not no_browser))


def file_option(name: str, text: str) -> Callable[[F], F]:
    return click.option(name, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help=text)


@cli.command(short_help="What many runs took together.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR_OR_FILE...")
@file_option("--csv", "Write a line per run.")
@file_option("--parquet", "The same columns with their types.")
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Draw distributions, cost against time, models, and runs over time, as PNG files.",
)
def stats(paths: tuple[Path, ...], csv: Path | None, parquet: Path | None, plots: Path | None) -> None:
    """Cost, time, turns, sub-calls, errors and use per model of the runs whose trajectories (*.jsonl) are there.

    Runs of several directories are compared with those of the first. What a provider did not tell counts as unknown,
    never as zero. --parquet and --plots need `pip install "rlm[stats]"`.
    """
    from rlm.cli.stats import Output, report

    for path in paths:
        if not path.exists():
            raise click.UsageError(one_line(f"{path} does not exist"))
    sys.exit(report(paths, Output(csv=csv, parquet=parquet, plots=plots)))
