"""`LiveView` and `verbose=True` in a program: where they show, when they end, what they ask for and what they cost."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

import pytest

from command_line import DEADLINE, environment
from rlm import RLM
from rlm.events import Event, RunFinished, Warned
from rlm.live import LiveView
from rlm.testing import ScriptedClient
from view.runs import code, events_of, fan_out


class Tty:
    """A terminal's two ends: what is written to `stream` is read by a thread."""

    def __init__(self) -> None:
        self.controller, terminal = pty.openpty()
        self.stream = open(terminal, "w", encoding="utf-8")  # noqa: SIM115
        self.written = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.controller, 65_536)
            except OSError:
                return
            self.written += data

    def close(self) -> str:
        """All that was written."""
        self.stream.close()
        self._reader.join(DEADLINE)
        os.close(self.controller)
        return self.written.decode()


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tty]:
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Tty()
    yield terminal
    if not terminal.stream.closed:
        terminal.close()


def drawing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rlm-live-view"]


def complete(view: LiveView | None, context: str = "x") -> str:
    client = ScriptedClient([code("print(context)"), code("FINAL('the answer')")])
    return RLM(backend=client, observers=[view] if view else []).completion(context, "What?").response


def test_all_is_drawn_when_the_completion_returns_and_nothing_draws_any_more(tty: Tty) -> None:
    assert complete(LiveView(tty.stream)) == "the answer"
    assert drawing() == []
    text = tty.close()
    for words in ("What?", "turn 1", "turn 2", "answered", "the answer", "2 turns · 0 sub-calls"):
        assert words in text, words


def test_one_view_shows_one_run_after_the_other(tty: Tty) -> None:
    view = LiveView(tty.stream)
    complete(view)
    complete(view)
    assert tty.close().count("answered") == 2


def test_question_and_ending_are_left_to_a_program_that_prints_them(tty: Tty) -> None:
    complete(LiveView(tty.stream, answers=False))
    text = tty.close()
    assert "answered" in text
    assert "What?" not in text
    assert "  the answer" not in text
    assert "2 turns" not in text


def test_so_they_are_in_plain_lines() -> None:
    stream = io.StringIO()
    complete(LiveView(stream, answers=False))
    assert "── turn 2" in stream.getvalue()
    assert "What?" not in stream.getvalue()
    assert "answer:" not in stream.getvalue()


def test_events_may_come_from_another_thread_and_late(tty: Tty) -> None:
    view = LiveView(tty.stream)
    events, _ = events_of(ScriptedClient(fan_out(200)))
    waiting: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def deliver() -> None:
        while True:
            event = waiting.get()
            view(event)
            if isinstance(event, RunFinished) and event.depth == 0:
                return

    observer = threading.Thread(target=deliver)
    observer.start()
    for event in events:
        waiting.put(event)
    observer.join(DEADLINE)
    view(Warned(run=events[0].run, depth=0, time=1.0, text="too late"))
    text = tty.close()
    assert "200 sub-calls" in text
    assert "the answer" in text
    assert "too late" not in text


def test_a_block_ends_the_view_of_a_run_that_goes_on(tty: Tty) -> None:
    events, _ = events_of(ScriptedClient(fan_out(20)))
    with LiveView(tty.stream) as view:
        for event in events[:-1]:
            view(event)
        assert len(drawing()) == 1
    assert drawing() == []
    view(events[-1])
    text = tty.close()
    assert "turn 2" in text
    assert "answered" not in text
    assert text.rstrip().endswith("\x1b[?25h\x1b[?2026l")


def test_views_of_one_terminal_are_one_and_each_run_is_whole(tty: Tty) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: complete(LiveView(tty.stream), f"part {n}"), range(8)))
    assert drawing() == []
    text = tty.close()
    for number in range(8):
        assert f"│ part {number}" in text


def test_a_terminal_that_went_away_does_not_stop_the_run(tty: Tty, caplog: pytest.LogCaptureFixture) -> None:
    broken = Broken(tty.stream)
    seen: list[Event] = []
    client = ScriptedClient([code("print(1)"), code("print(2)"), code("FINAL(3)")], latency=broken.wait)
    result = RLM(backend=client, observers=[LiveView(broken), seen.append]).completion("x")
    assert result.response == "3"
    warned = [event.text for event in seen if isinstance(event, Warned)]
    assert len(warned) == 1
    assert "the terminal went away" in warned[0]
    assert drawing() == []


class Broken(io.TextIOWrapper):
    """A terminal's stream whose terminal is gone."""

    def __init__(self, real: TextIO) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self._real = real
        self.tried = threading.Event()

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._real.fileno()

    def write(self, text: str) -> int:
        self.tried.set()
        raise OSError(5, "the terminal went away")

    async def wait(self) -> None:
        await asyncio.to_thread(self.tried.wait, DEADLINE)


def test_a_screen_asks_for_replies_as_they_arrive_and_a_pipe_does_not(tty: Tty) -> None:
    assert LiveView(tty.stream).live
    assert not LiveView(io.StringIO()).live


HEAVY = """
import sys
from rlm import RLM
from rlm.testing import ScriptedClient
RLM(backend=ScriptedClient("```repl\\nFINAL(1)\\n```"), verbose={verbose}).completion("x")
assert not {{name.split(".")[0] for name in sys.modules}} & {{"rich", "pygments", "IPython"}}
"""


@pytest.mark.parametrize("verbose", [True, False])
def test_what_draws_is_not_imported_where_nothing_is_drawn(verbose: bool) -> None:
    command = [sys.executable, "-c", HEAVY.format(verbose=verbose)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    assert ("── turn 1 ──" in done.stderr) == verbose


def test_a_fork_has_no_view_of_its_parent_s_runs(tty: Tty) -> None:
    script = Path(__file__).with_name("forking.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        stderr=tty.stream,
        stdout=subprocess.PIPE,
        env=environment(TERM="xterm"),
        timeout=DEADLINE,
        check=True,
    )
    assert done.stdout.split() == [b"child", b"0", b"parent"]
