"""`rlm stats`: the tables, the files it writes, what it makes of hostile logs, and what is missing."""

from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import arro3.io
import pytest
from click.testing import CliRunner, Result

from command_line import environment, one_line
from rlm import Price
from rlm.cli.command import cli
from rlm.cli.stats.measure import Measured, labelled, number, percentile
from rlm.cli.stats.panels import Drawn
from rlm.cli.stats.plots import overview, save, style
from rlm.cli.stats.scales import duration, money, name
from rlm.cli.stats.tables import COLUMNS
from rlm.events import Event, RunFinished, RunStarted
from rlm.types import Usage
from viewer.logs import MadeUpRun, real_run, write

PLOTS = {"overview.png", "distributions.png", "cost-time.png", "models.png", "over-time.png"}
HOSTILE = (
    "$x^2$",
    "$\\frac{",
    "\\alpha_{",
    "_hidden",
    "__",
    "",
    " ",
    "\x1b[2J\x07\0",
    "\ud800 half",
    "模型/ロボット 🤖",
    "\u202eright to left",
    "a\nb\tc",
    "%s %d {0}",
    "long " * 100_000,
)


def drawn(runs: Sequence[Measured], path: Path) -> tuple[int, int]:
    """The figure that has them all."""
    with style():
        save(overview(Drawn(runs)), path)
    return size(path)


def rlm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def parquet(path: Path) -> Any:
    return arro3.io.read_parquet(path).read_all()


def size(png: Path) -> tuple[int, int]:
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.rstrip().endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def finished(usage: dict[str, Usage], *, seconds: float = 9.5) -> Iterator[Event]:
    """A run with such use."""
    made = MadeUpRun()
    yield made.started()
    yield from made.turn(0)
    end = made.finished()
    assert isinstance(end, RunFinished)
    yield replace(end, usage=tuple(usage.items()), seconds=seconds)


def measured(**changes: Any) -> Measured:
    values: dict[str, Any] = dict.fromkeys(COLUMNS)
    values |= {name: 0 for name, kind in COLUMNS.items() if kind in ("whole", "number")}
    values |= dict.fromkeys(("group", "file", "run", "model", "environment"), "x")
    began = datetime(2026, 11, 25, tzinfo=UTC)
    return Measured(**(values | {"status": "answered", "began": began, "models": {}} | changes))


def test_it_counts_over_all_runs_and_never_takes_unknown_for_nothing(tmp_path: Path) -> None:
    _, priced = real_run(tmp_path, price=Price(input=1.0, output=2.0))
    real_run(tmp_path)
    made = MadeUpRun()
    write(tmp_path / "failed.jsonl", [made.started(), *made.turn(0), made.finished(None, error=("LMError", "no key"))])
    write(tmp_path / "going.jsonl", [MadeUpRun().started()])
    done = rlm("stats", tmp_path, "--csv", tmp_path / "runs.csv")
    assert done.exit_code == 0
    assert "4 runs: 2 answered, 1 failed with LMError, 1 running or killed" in done.output
    cost = next(line for line in done.output.splitlines() if "cost" in line and "│" in line)
    assert [cell.strip() for cell in cost.split("│")][-2] == "1"
    found = rows(tmp_path / "runs.csv")
    assert {row["status"] for row in found} == {"answered", "failed", "running"}
    dollars = [row["dollars"] for row in found if row["status"] == "answered"]
    assert sorted(dollars) == sorted(["", str(priced.usage_summary.total_cost)])
    assert all(row["llm_calls"] == "8" and row["turns"] == "5" for row in found if row["status"] == "answered")


def test_it_leaves_out_what_is_no_trajectory_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "run.jsonl", [MadeUpRun().started()])
    (tmp_path / "other.jsonl").write_text("hello\n")
    (tmp_path / "folder.jsonl").mkdir()
    done = rlm("stats", tmp_path)
    assert done.exit_code == 0
    assert "1 runs" in done.output
    assert "other.jsonl is not a trajectory" in done.output
    assert "folder.jsonl is no regular file" in done.output


def test_nothing_there_is_wrong_usage(tmp_path: Path) -> None:
    done = rlm("stats", tmp_path)
    assert (done.exit_code, "no trajectories there" in done.output) == (2, True)
    done = rlm("stats", tmp_path / "nowhere")
    assert (done.exit_code, "does not exist" in done.output) == (2, True)


def test_a_log_named_twice_is_counted_once(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", [MadeUpRun().started()])
    assert "1 runs" in rlm("stats", tmp_path, path, f"{tmp_path}/../{tmp_path.name}").output


def test_it_prints_no_escapes_and_writes_no_formulas_of_a_log(tmp_path: Path) -> None:
    made = MadeUpRun()
    question = "=HYPERLINK('http://evil')\x1b[2J\ud800"
    error = ("\x1b]0;title\x07[bold]", "x")
    write(tmp_path / "run.jsonl", [made.started(question), *made.turn(0), made.finished(None, error=error)])
    done = rlm("stats", tmp_path, "--csv", tmp_path / "runs.csv", "--parquet", tmp_path / "runs.parquet")
    assert done.exit_code == 0
    assert "\x1b]0" not in done.output
    assert "[bold]" in done.output
    (row,) = rows(tmp_path / "runs.csv")
    assert row["question"].startswith("'=HYPERLINK")
    assert parquet(tmp_path / "runs.parquet")["question"].to_pylist() == ["=HYPERLINK('http://evil')\x1b[2J?"]


def test_parquet_has_the_columns_of_the_csv_with_types_and_nulls(tmp_path: Path) -> None:
    real_run(tmp_path, price=Price(input=1.0, output=2.0))
    real_run(tmp_path)
    assert rlm("stats", tmp_path, "--csv", tmp_path / "r.csv", "--parquet", tmp_path / "r.parquet").exit_code == 0
    table, lines = parquet(tmp_path / "r.parquet"), rows(tmp_path / "r.csv")
    assert table.column_names == list(COLUMNS) == list(lines[0])
    types = {field.name: str(field.type).strip() for field in map(table.schema.field, table.column_names)}
    assert types["began"] == 'arro3.core.DataType<Timestamp(µs, "UTC")>'
    assert (types["dollars"], types["input_tokens"]) == ("arro3.core.DataType<Float64>", "arro3.core.DataType<Int64>")
    for line, began, dollars, models in zip(
        lines, *(table[column].to_pylist() for column in ("began", "dollars", "models")), strict=True
    ):
        assert began == datetime.fromisoformat(line["began"])
        assert began.utcoffset() is not None
        assert ("" if dollars is None else str(dollars)) == line["dollars"]
        assert json.loads(models) == json.loads(line["models"])
    assert table["dollars"].to_pylist().count(None) == 1


def test_directories_are_compared_with_the_first(tmp_path: Path) -> None:
    for group, cost in (("cheap", 0.01), ("dear", 0.04)):
        (tmp_path / group).mkdir()
        write(tmp_path / group / "run.jsonl", list(finished({"m": Usage(calls=1, dollars=cost)})))
    (tmp_path / "dark").mkdir()
    write(tmp_path / "dark" / "run.jsonl", list(finished({"m": Usage(calls=1, unpriced=1)})))
    done = rlm("stats", *(tmp_path / group for group in ("cheap", "dear", "dark")))
    table = {cells[1]: cells[2:-1] for cells in cells_of(done.output) if len(cells) == 8}
    assert table[""] == ["cheap", "dear", "×", "dark", "×"]
    assert table["cost, mean"] == ["$0.0100", "$0.0400", "4.00", "unknown", ""]
    assert table["answered"] == ["100.0%", "100.0%", "1.00", "100.0%", "1.00"]
    assert table["cost unknown"] == ["0", "0", "", "1", ""]


def cells_of(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.replace("┃", "│").split("│")] for line in output.splitlines()]


def test_one_directory_is_compared_with_nothing(tmp_path: Path) -> None:
    write(tmp_path / "run.jsonl", [MadeUpRun().started()])
    assert "Compared" not in rlm("stats", tmp_path).output


def test_groups_are_named_without_what_they_have_in_common() -> None:
    assert list(labelled({"/a/b/x": [], "/a/b/y/z": [], "/a/b": []})) == ["x", "y/z", "."]
    assert list(labelled({"/a/x": [], "b": []})) == ["/a/x", "b"]
    assert list(labelled({"runs/x": []})) == ["runs/x"]


def test_plots_are_one_file_for_each_figure_and_one_with_all(tmp_path: Path) -> None:
    for group in ("one", "two"):
        (tmp_path / group).mkdir()
        real_run(tmp_path / group, price=Price(input=1.0, output=2.0))
        real_run(tmp_path / group)
    done = rlm("stats", tmp_path / "one", tmp_path / "two", "--plots", tmp_path / "new" / "plots")
    assert done.exit_code == 0
    found = set((tmp_path / "new" / "plots").iterdir())
    assert {path.name for path in found} == PLOTS
    assert all(min(size(path)) > 600 for path in found)


@pytest.mark.parametrize("groups", [1, 40])
def test_no_name_in_a_log_breaks_a_plot(tmp_path: Path, groups: int) -> None:
    names = [*HOSTILE, *(f"model-{number}" for number in range(3_000))]
    models = {text: Usage(calls=1, dollars=0.1, input_tokens=1) for text in names}
    runs = [measured(group=f"{HOSTILE[n % len(HOSTILE)]}{n}", models=models) for n in range(groups)]
    assert drawn(runs, tmp_path / "plot.png") == (2480, 1680)


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([measured()], id="one run that took nothing"),
        pytest.param([measured(dollars=None, seconds=None, began=None)], id="nothing known"),
        pytest.param(
            [
                measured(dollars=5e-324, seconds=1e-9, turns=2**62),
                measured(dollars=9e18, seconds=9e18),
                measured(turns=1),
            ],
            id="figures without measure",
        ),
        pytest.param([measured(dollars=-1.0, seconds=-1.0, turns=-1), measured(dollars=1.0)], id="figures below zero"),
        pytest.param([measured(dollars=None), measured(dollars=0.0), measured(dollars=4.0)], id="some costs not known"),
        pytest.param(
            [measured(began=datetime(1, 1, 1, tzinfo=UTC)), measured(began=datetime.max.replace(tzinfo=UTC))],
            id="all days",
        ),
        pytest.param(
            [
                measured(status=status, models={"m": Usage(calls=1, unmetered=1, unpriced=1)})
                for status in ("answered", "forced", "failed", "running")
            ],
            id="all endings, and a model that tells nothing",
        ),
    ],
)
def test_no_figure_in_a_log_breaks_a_plot(tmp_path: Path, runs: Sequence[Measured]) -> None:
    assert drawn(runs, tmp_path / "plot.png") == (2480, 1680)


def test_numbers_that_nobody_counted_are_not_known() -> None:
    assert [number(value) for value in (10**400, float("inf"), float("nan"), None, "3", 2**63)] == [None] * 6
    assert number(-1.5) == -1.5


def test_a_log_of_numbers_beyond_measure_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", list(finished({"m": Usage(calls=1, dollars=1.0)})))
    huge = "1" + "0" * 400
    text = path.read_text()
    path.write_text(
        text.replace('"seconds":9.5', f'"seconds":{huge}').replace('"input_tokens":120', f'"input_tokens":{huge}')
    )
    done = rlm("stats", tmp_path, "--csv", tmp_path / "r.csv", "--parquet", tmp_path / "r.parquet")
    assert done.exit_code == 0
    assert "lines could not be read" in done.output


def test_figures_are_written_for_people() -> None:
    assert [duration(v) for v in (0, 0.012, 3.5, 300, 7_200, 259_200)] == [
        "0 s",
        "12 ms",
        "3.5 s",
        "5 min",
        "2 h",
        "3 d",
    ]
    assert [money(v) for v in (0, 0.0123, 0.8, 1.5, 12_300)] == ["$0", "$0.012", "$0.80", "$1.50", "$12.3k"]
    assert name("_x") == " _x"
    assert name("模") == "\\u6a21"
    assert percentile([1.0, 2.0, 4.0], 75) == 3.0


@pytest.mark.parametrize(("option", "library"), [("--plots", "matplotlib"), ("--parquet", "arro3")])
def test_a_missing_library_is_one_line_that_says_what_to_install(tmp_path: Path, option: str, library: str) -> None:
    write(tmp_path / "run.jsonl", [MadeUpRun().started()])
    # An entry of None makes an import fail as if the library were not there.
    program = f"import sys; sys.modules[{library!r}] = None\nfrom rlm.cli import main\nmain()"
    command = [sys.executable, "-c", program, "stats", str(tmp_path), option, str(tmp_path / "new")]
    done = subprocess.run(command, env=environment(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 5
    assert 'pip install "rlm[stats]"' in one_line(done.stderr)
    assert done.stdout == b""
    assert not (tmp_path / "new").exists()


def test_the_tables_need_no_library_of_the_extra(tmp_path: Path) -> None:
    write(tmp_path / "run.jsonl", [MadeUpRun().started()])
    program = (
        "import sys, atexit; from rlm.cli import main; sys.argv = ['rlm', 'stats', '.', '--csv', 'r.csv']\n"
        "atexit.register(lambda: print(sorted({'matplotlib', 'numpy', 'arro3'} & set(sys.modules))))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"[]")


@pytest.mark.parametrize(
    ("option", "path", "reason"),
    [
        ("--csv", "run.jsonl/new", "Not a directory"),
        ("--parquet", "run.jsonl/new", "Not a directory"),
        ("--plots", "run.jsonl/new", "Not a directory"),
        ("--csv", "/dev/full", "No space left"),
        ("--parquet", "/dev/full", "No space left"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line_that_names_it(
    tmp_path: Path, option: str, path: str, reason: str
) -> None:
    write(tmp_path / "run.jsonl", [MadeUpRun().started()])
    done = rlm("stats", tmp_path, option, tmp_path / path)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"rlm: cannot write {tmp_path / path}: {reason}")
    assert done.stderr.count("\n") == 1


def test_a_pipe_among_the_logs_blocks_nothing(tmp_path: Path) -> None:
    write(tmp_path / "run.jsonl", [MadeUpRun().started("?" * 100_000)])
    os.mkfifo(tmp_path / "pipe.jsonl")
    done = rlm("stats", tmp_path, "--csv", tmp_path / "r.csv")
    assert (done.exit_code, "pipe.jsonl is no regular file" in done.output) == (0, True)
    assert len(rows(tmp_path / "r.csv")[0]["question"]) == 10_000


def test_the_style_of_the_person_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nsavefig.dpi: 10\nfont.family: No Such Font\n")
    write(tmp_path / "run.jsonl", [MadeUpRun().started()])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "rlm", "stats", ".", "--plots", "plots"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert size(tmp_path / "plots" / "overview.png") == (2480, 1680)


def test_a_run_says_what_it_says(tmp_path: Path) -> None:
    made = MadeUpRun()
    started = made.started()
    assert isinstance(started, RunStarted)
    write(tmp_path / "run.jsonl", [replace(started, time=1_700_000_000.25)])
    rlm("stats", tmp_path, "--csv", tmp_path / "runs.csv")
    (row,) = rows(tmp_path / "runs.csv")
    assert (row["group"], row["file"], row["began"]) == (str(tmp_path), "run.jsonl", "2023-11-14T22:13:20.250000+00:00")


def test_a_table_does_not_take_the_place_of_a_log(tmp_path: Path) -> None:
    path, _ = real_run(tmp_path)
    before = path.read_bytes()
    done = rlm("stats", tmp_path, "--csv", path)
    assert (done.exit_code, path.read_bytes()) == (1, before)
    assert "it is one of the logs" in done.stderr
