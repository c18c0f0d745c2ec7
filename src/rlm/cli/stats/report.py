"""Reads the logs, prints the tables, writes what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rlm.cli import exits
from rlm.cli.stats.measure import Measured, measure, places
from rlm.cli.stats.tables import show, write_csv
from rlm.cli.terminal import say, watched
from rlm.errors import SetupError, TrajectoryError


@dataclass(frozen=True, kw_only=True)
class Output:
    """What is to be written beside the tables, and where."""

    csv: Path | None = None
    parquet: Path | None = None
    plots: Path | None = None


Writer = Callable[[Sequence[Measured], Path], None]


def report(paths: Sequence[Path], output: Output) -> int:
    """Print the tables, write the files; gives the exit code."""
    try:
        wanted = writers(output)
    except SetupError as error:
        say(f"rlm: {exits.error_line(error)}")
        return exits.exit_code(error)
    try:
        files = places(paths)
    except OSError as error:
        say(f"rlm: cannot read {error.filename}: {error.strerror}")
        return exits.FAILED
    runs = read(files)
    if not runs:
        say("rlm: no trajectories there (*.jsonl); `--log DIR` and RLMLogger write them")
        return exits.USAGE
    for path, writer in wanted:
        if path.exists() and any(file.exists() and path.samefile(file) for _, file in files):
            say(f"rlm: cannot write {path}: it is one of the logs")
            return exits.FAILED
        try:
            writer(runs, path)
        except OSError as error:
            say(f"rlm: cannot write {path}: {error.strerror or error}")
            return exits.FAILED
    show(runs)
    return exits.ANSWERED


def writers(output: Output) -> list[tuple[Path, Writer]]:
    """What writes each file. What it needs is imported here: the logs may take long to read.

    Raises:
        SetupError: a library is not installed.
    """
    found: list[tuple[Path, Writer]] = []
    if output.csv is not None:
        found.append((output.csv, write_csv))
    if output.parquet is not None:
        try:
            from rlm.cli.stats.parquet import write_parquet
        except ImportError as error:
            raise missing("--parquet", "arro3-io", error) from error
        found.append((output.parquet, write_parquet))
    if output.plots is not None:
        try:
            from rlm.cli.stats.plots import write_plots
        except ImportError as error:
            raise missing("--plots", "matplotlib", error) from error
        found.append((output.plots, write_plots))
    return found


def missing(option: str, library: str, error: ImportError) -> SetupError:
    return SetupError(f'{option} needs {library} ({error}): pip install "rlm[stats]"')


def read(files: Sequence[tuple[str, Path]]) -> list[Measured]:
    """What each log says; those that are none are named on stderr. On a terminal a bar shows how far it is."""
    runs: list[Measured] = []
    with ExitStack() as stack:
        step: Callable[[int], object] = lambda size: None  # noqa: E731
        if watched():
            columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
            task = bar.add_task("", total=sum(file.stat().st_size for _, file in files if file.is_file()))
            step = lambda size: bar.advance(task, size)  # noqa: E731
        for group, file in files:
            try:
                runs.append(measure(group, file, step))
            except (TrajectoryError, OSError) as error:
                say(f"rlm: left out: {error}")
    return runs
