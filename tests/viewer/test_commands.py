"""`rlm view` as a command."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from command_line import RLM, environment
from rlm.cli.command import cli
from viewer.logs import MadeUpRun, real_run, write


def rlm(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def test_view_writes_one_run_as_a_page(tmp_path: Path) -> None:
    path, _ = real_run(tmp_path)
    done = rlm("view", path, "--export", tmp_path / "run.html")
    assert done.exit_code == 0
    assert (tmp_path / "run.html").read_bytes().startswith(b"<!doctype html>")


def test_view_writes_the_only_run_of_a_directory_and_names_the_newest_of_several(tmp_path: Path) -> None:
    path, _ = real_run(tmp_path)
    page = tmp_path / "run.html"
    assert rlm("view", tmp_path, "--export", page).exit_code == 0
    assert page.read_bytes().startswith(b"<!doctype html>")
    page.unlink()
    older = write(tmp_path / "zzz.jsonl", [MadeUpRun().started()])
    os.utime(older, (1, 1))
    done = rlm("view", tmp_path, "--export", page)
    assert done.exit_code == 2
    assert f"the newest is {path}" in " ".join(done.output.split())
    assert not page.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere"], 2, "does not exist"),
        (["empty", "--export", "run.html"], 2, "no *.jsonl in empty"),
        (["other.txt"], 1, "is not a trajectory"),
        (["other.txt", "--export", "run.html"], 1, "is not a trajectory"),
        (["run.jsonl", "--export", "no/such/folder.html"], 1, "No such file"),
        (["run.jsonl", "--port", "99999"], 2, "not in the range"),
    ],
)
def test_view_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.txt").write_text("hello")
    Path("empty").mkdir()
    write(Path("run.jsonl"), [MadeUpRun().started()])
    done = rlm("view", *arguments)
    assert (done.exit_code, says in done.output) == (code, True), done.output
    assert "Traceback" not in done.output


def test_view_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    write(tmp_path / "run.jsonl", [MadeUpRun().started()])
    command = [*RLM, "view", str(tmp_path), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as run:
        assert run.stdout is not None
        url = run.stdout.readline().strip()
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(url + "api/runs", timeout=60) as answer:
            assert b"run.jsonl" in answer.read()
        run.send_signal(signal.SIGINT)
        _, stderr = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "Traceback" not in stderr
