"""What is drawn fits its place, whatever its size and whatever a model says."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyte
import pytest
from rich.console import Console, Group

from rlm.events import Event, RunFinished, RunStarted
from rlm.live.fold import Run
from rlm.live.frame import frame, frame_height, most_agents
from rlm.live.picture import look
from rlm.live.record import Item
from rlm.live.terminal import Terminal
from rlm.testing import ScriptedClient
from rlm.types import Message
from view.runs import Answer, code, events_of, fan_out, recursive, turns

SIZES = [(80, 24), (200, 50), (60, 15), (40, 10), (20, 5), (12, 3), (5, 2), (1, 1)]
WIDE = "日本語の答え 🙂👩‍👩‍👧‍👦 " * 60


def wide(messages: Sequence[Message]) -> Answer:
    """Long lines of characters that take two cells, or of which terminals disagree how many they take."""
    if turns(messages) == 0:
        return f"{WIDE}\n```repl\n# {WIDE}\nprint({WIDE!r})\nllm_query('q')\nraise ValueError({WIDE!r})\n```"
    return code(f"FINAL({WIDE!r})")


CASES = {
    "fan-out": lambda: events_of(ScriptedClient(fan_out(300)), max_subcalls=400, max_budget=None, max_tokens=10**6),
    "tree": lambda: events_of(ScriptedClient(recursive(6, 4)), max_depth=4, max_concurrent_subcalls=100),
    "wide": lambda: events_of(ScriptedClient(wide, model="モデル" * 20)),
}


@pytest.fixture(scope="module", params=CASES)
def events(request: pytest.FixtureRequest) -> list[Event]:
    return CASES[request.param]()[0]


def replay(events: Sequence[Event], every: int) -> list[tuple[Run, float, list[Item]]]:
    """The run at moments of its life, with what was added to the record since the last; made anew for each."""
    moments = []
    for end in range(1, len(events), every):
        assert isinstance(events[0], RunStarted)
        run = Run(events[0])
        items = [item for event in events[1:end] for item in run.add(event)]
        moments.append((run, events[end].time, items))
    return moments


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_the_live_part_fits_every_size(events: list[Event], columns: int, lines: int) -> None:
    for run, now, _ in replay(events, max(1, len(events) // 12)):
        rows = frame(look([run], now, most_agents(lines)), width=columns, height=lines, tick=1)
        console = Console(file=io.StringIO(), width=columns, force_terminal=False)
        console.print(Group(*rows))
        drawn = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert 1 <= len(drawn) <= frame_height(lines) <= max(1, lines - 2)


@pytest.mark.parametrize(("columns", "lines"), SIZES[:5])
def test_pictures_replace_each_other_and_the_record_stays(events: list[Event], columns: int, lines: int) -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, size=(columns, lines))
    emulator = pyte.HistoryScreen(columns, lines, history=100_000)
    assert isinstance(events[0], RunStarted)
    run = Run(events[0])
    items: list[Item] = [run.begin(events[0])]
    for number, event in enumerate(events[1:]):
        ended = isinstance(event, RunFinished) and event.depth == 0
        items += run.add(event)
        if number % (len(events) // 20) == 0 or ended:
            picture = None if ended else look([run], event.time, terminal.agents())
            terminal.show(items, picture, marked=False)
            items = []
    pyte.Stream(emulator).feed(stream.getvalue())
    gone = ["".join(line[x].data for x in range(columns)) for line in emulator.history.top]
    left = [line.rstrip() for line in [*gone, *emulator.display]]
    while left and not left[-1]:
        left.pop()
    plain = io.StringIO()
    whole = Terminal(plain, size=(columns, lines))
    run = Run(events[0])
    whole.show([run.begin(events[0]), *(i for e in events[1:] for i in run.add(e))], None, marked=False)
    record = pyte.HistoryScreen(columns, 5000)
    pyte.Stream(record).feed(plain.getvalue())
    assert left == [line.rstrip() for line in record.display if line.strip()], "remains of a picture, or a hole"


def test_nothing_is_written_while_nothing_changes() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, size=(80, 24))
    terminal.show([], None, marked=False)
    assert stream.getvalue() == ""
