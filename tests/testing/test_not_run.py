"""A test that could not run here is named at the end, and fails a run in CI; a suite in the background is no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent.parent / "conftest.py"
SUITE = """
import pytest

def test_runs():
    pass

def test_finds_out(not_run):
    not_run("a quantum computer", "none was delivered")

@pytest.mark.skip(reason="by hand")
def test_skips():
    pass
"""


def run(folder: Path, suite: str, *options: str, ci: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_suite.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)]
    environment = dict(os.environ, CI=ci, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # a second of each run
    # As a shell starts what is followed by `&`.
    shell = ["sh", "-c", "trap '' INT QUIT; exec \"$@\"", "sh"]
    return subprocess.run(
        [*shell, *command], capture_output=True, text=True, env=environment, cwd=folder, timeout=60, check=False
    )


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n1")], ids=["in one process", "with workers"])
def test_everything_that_did_not_run_is_named_at_the_end(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, SUITE, *options)
    assert "not run: needs a quantum computer: none was delivered (1 test)" in done.stdout
    assert "not run: by hand (1 test)" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n1")], ids=["in one process", "with workers"])
def test_in_ci_it_is_a_failure(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, SUITE, *options, ci="true")
    assert "what was not run is a failure" in done.stdout
    assert done.returncode == 1


def test_a_run_in_which_everything_ran_passes_in_ci_and_says_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_runs(): pass", ci="true")
    assert "not run" not in done.stdout
    assert done.returncode == 0


def test_an_unknown_need_is_an_error_and_no_skip(tmp_path: Path) -> None:
    done = run(tmp_path, "import pytest\n@pytest.mark.needs('luck')\ndef test_x(): pass")
    assert done.returncode == 1
    assert "KeyError" in done.stdout


INTERRUPTS = """
import signal, subprocess, sys

def test_ctrl_c_ends_a_program():
    program = [sys.executable, "-c", "print(1, flush=True); input()"]
    with subprocess.Popen(program, stdin=-1, stdout=-1, stderr=-1) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=30)[1]
"""


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n1")], ids=["in one process", "with workers"])
def test_a_suite_in_the_background_can_interrupt_what_it_starts(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert run(tmp_path, INTERRUPTS, *options).returncode == 0
