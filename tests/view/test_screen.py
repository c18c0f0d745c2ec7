"""The live view as a person sees it: real programs on a pseudo-terminal, their screen kept by an emulator."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import environment
from view.screens import Screen

PROGRAMS = Path(__file__).with_name("programs.py")
COLOUR = re.compile(r"\x1b\[[0-9;]*[34][0-9][0-9;]*m")


def program(name: str, *, columns: int = 80, lines: int = 24, **variables: str) -> Screen:
    wanted = environment(**{"TERM": "xterm-256color"} | variables)
    command = [sys.executable, str(PROGRAMS), name]
    return Screen(command, columns=columns, lines=lines, environment=wanted, cwd=PROGRAMS.parent)


def shows(*words: str) -> Callable[[Screen], bool]:
    return lambda screen: all(word in screen.text for word in words)


def below(screen: Screen, mark: str) -> list[str]:
    """The lines of the screen from the one with the mark on."""
    lines = screen.lines
    start = next(i for i, line in enumerate(lines) if mark in line)
    return [line for line in lines[start:] if line]


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_a_thousand_calls_are_a_few_lines_that_say_how_it_stands(columns: int, lines: int) -> None:
    with program("fan_out", columns=columns, lines=lines) as screen:
        screen.until(shows("waiting for 957 calls", "43 of 1,000"))
        record, live = screen.text.split("waiting for 957 calls")
        for words in (
            "scripted · local · 5,000 characters of str",
            "How many?",
            "turn 1",
            "I look first.",
            "first look",
        ):
            assert words in record, words
        for words in ("turn 2/30", "# a thousand at once", "│ asking", "40 done", "957 in flight", "3 failed"):
            assert words in live, words
        assert "calls 8, 12: [rate_limit] (scripted) too fast" in live
        assert "call 31: [refusal] (scripted) not a word" in live
        assert re.search(r"used +[\d,]+ tokens · \$0\.\d{4} · \d+ s", live)
        assert re.search(r"left +\$0\.\d{4} · 200 sub-calls · 28 turns", live)
        assert len(below(screen, "waiting for 957")) <= lines * 2 // 3


def test_a_tree_shows_each_agent_until_there_is_no_room_and_counts_the_others() -> None:
    with program("tree", columns=120, lines=66) as screen:
        screen.until(shows("RLMs       20 at work", "0/0  thinking"))
        for words in ("root  ", "├ ", "│ ├ ", "0/3", "3/3", "waiting for 4 calls", "in 0:", "│ splitting"):
            assert words in screen.text, words
        screen.resize(80, 24)
        screen.until(lambda screen: "more at depth 2" in "".join(screen.lines))
        assert re.search(r"… 1\d more at depth 2: 1\d thinking", "\n".join(screen.lines))
        assert len(below(screen, "root  ")) <= 16


def test_ctrl_c_leaves_the_terminal_in_order_and_shows_what_was_done() -> None:
    with program("fan_out") as screen:
        screen.until(shows("43 of 1,000"))
        screen.type("\x03")
        assert screen.wait() != 0
        assert screen.cursor_is_shown
        end = "\n".join(below(screen, "── cancelled"))
        assert re.search(r"── cancelled ─+\n  partial answer:\n  so far 12\n  2 turns · 1,000 sub-calls", end), end
        assert "957 cut off" in " ".join(end.split())
        assert end.splitlines()[-1] == "rlm.errors.CancellationError: the run was cancelled"
        for words in ("1,000 sub-calls in", "3 failed, 957 cut off", "calls 8, 12: [rate_limit]", "stopped here"):
            assert words in screen.text, words
        assert "in flight" not in screen.text


def test_a_second_ctrl_c_does_not_leave_a_traceback_among_remains_of_the_live_part() -> None:
    with program("stubborn", columns=120, lines=50) as screen:
        screen.until(shows("thinking · turn 1/30"))
        screen.type("\x03")
        # Typed until it is taken: two that come at once are one to Python.
        screen.until(lambda screen: screen.type("\x03") is None and "KeyboardInterrupt" in screen.text)
        screen.process.kill()  # it would wait for what does not end
        screen.wait()
        assert "thinking" not in screen.text
        assert "used  " not in screen.text


def test_a_failure_says_what_failed_and_what_to_change() -> None:
    with program("failure") as screen:
        assert screen.wait() == 0
        text = " ".join(screen.text.split())
        assert "── failed ─" in text
        assert "LMError: [authentication] (scripted) the key is wrong — set SOME_API_KEY" in text
        assert "2 turns · 0 sub-calls" in text
        assert text.endswith("the program goes on")
        assert "used " not in text


@pytest.mark.parametrize("size", [(60, 15), (40, 10), (120, 40), (20, 5)])
def test_a_change_of_size_leaves_one_whole_picture(size: tuple[int, int]) -> None:
    columns, lines = size
    with program("fan_out", columns=100, lines=30) as screen:
        screen.until(shows("43 of 1,000", "first look"))
        screen.resize(columns, lines)
        screen.until(lambda screen: sum("waiting" in line for line in screen.lines) == 1)
        live = below(screen, "waiting")
        assert len(live) <= lines - 2
        assert max(map(len, live)) <= columns
        screen.resize(100, 30)
        screen.until(lambda screen: any("43 of 1,000" in line for line in screen.lines))
        screen.type("\x03")
        screen.wait()
        assert "How many?" in screen.text


def test_what_the_program_prints_meanwhile_stays() -> None:
    with program("chatty") as screen:
        screen.until(shows("turn 2/30"))
        record = screen.text.split("thinking · turn 2/30")[0]
        kept = [line for line in record.splitlines() if line.startswith(("logged", "unfinished"))]
        assert [line.split(" · ")[0] for line in kept] == [
            words for n in range(3) for words in (f"logged {n}", f"unfinished {n} finished")
        ]


def test_runs_of_many_threads_share_one_view() -> None:
    with program("many", columns=100, lines=30) as screen:
        screen.until(shows("2 runs going on, 10 ended"))
        runs = re.findall(r"characters of str · run (\w{8})", screen.text)
        assert len(set(runs)) == 12
        assert sum(line.startswith(tuple("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")) for line in screen.lines) == 2
        for run in runs:
            whose = re.findall(rf"── turn (\d) · {run} ─+ .+\n  I look first\.\n  print.*\n  │ step (\d)", screen.text)
            assert whose in ([("1", "1"), ("2", "2")], [("2", "2")], [("1", "1")], []), "a block is torn"
        assert len(re.findall(r"── answered · \w{8} ─+\n  part \d+\n  3 turns", screen.text)) == 10


def test_nothing_that_a_model_says_steers_the_terminal() -> None:
    with program("evil", columns=120, lines=50) as screen:
        assert screen.wait() == 0
        assert "owned" in screen.text
        assert "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202eowned" in screen.text
        for steering in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\u202e", "owned\r"):
            assert steering not in screen.raw


def test_a_program_that_is_killed_leaves_the_cursor_and_the_wrapping_of_lines() -> None:
    with program("fan_out") as screen:
        screen.until(shows("43 of 1,000"))
        screen.process.send_signal(signal.SIGKILL)
        screen.wait()
        assert screen.cursor_is_shown
        assert screen.raw.count("\x1b[?7l") == screen.raw.count("\x1b[?7h")


def test_without_colours_where_they_are_not_wanted() -> None:
    with program("fan_out", NO_COLOR="1") as screen:
        screen.until(shows("43 of 1,000"))
        assert not COLOUR.search(screen.raw)
    with program("fan_out") as screen:
        screen.until(shows("43 of 1,000"))
        assert COLOUR.search(screen.raw)


def test_a_terminal_that_cannot_be_drawn_on_gets_plain_lines() -> None:
    for variables in ({"TERM": "dumb"}, {"TERM": ""}, {"PYTHONIOENCODING": "ascii"}):
        with program("failure", **variables) as screen:
            assert screen.wait() == 0
            assert "\x1b" not in screen.raw
            for words in ("── turn 1", "first look", "run failed: LMError"):
                assert words.replace("──", "\\u2500\\u2500" if "PYTHONIOENCODING" in variables else "──") in screen.text


def test_a_pipe_gets_plain_lines_whose_runs_are_told_apart() -> None:
    command = [sys.executable, str(PROGRAMS), "many"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment()) as process:
        assert process.stderr is not None
        lines, answered = [], 0
        for line in process.stderr:
            lines.append(line.decode())
            answered += lines[-1].rstrip().endswith("  answer:")
            if answered == 10:
                break
        process.kill()
    text = "".join(lines)
    assert {c for c in text if not (c.isprintable() or c == "\n")} == set()
    runs = set(re.findall(r"run (\w{8}): scripted, local, context: \d characters of str", text))
    assert len(runs) == 12
    first_shared = next(i for i, line in enumerate(lines) if line.startswith("["))
    for line in lines[first_shared:]:
        assert re.match(r"\[(\w{8})\] ", line)[1] in runs  # type: ignore[index]
