"""Runs made up event by event, and contexts to run over, for the tests of trajectories."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from rlm.events import (
    CallFinished,
    CallStarted,
    CellFinished,
    CellOutput,
    CellStarted,
    Compacted,
    Event,
    LimitApproached,
    ReplyReceived,
    ReplyText,
    RunFinished,
    RunStarted,
    TurnFinished,
    TurnStarted,
    Warned,
)
from rlm.types import UNSET, Cell, CellError, Reply, Usage

USAGE = Usage(calls=1, attempts=1, input_tokens=120, output_tokens=30, dollars=0.001)


def log_lines(size: int, seed: int = 7) -> str:
    """Text of `size` characters in lines like a log's, no two alike."""
    rng = random.Random(seed)
    page = "\n".join(
        f"2026-11-22 host-{rng.randrange(40):02d} request {rng.randrange(10**12):012d} took {rng.random():.9f} s"
        for _ in range(20_000)
    )
    pages = (page.replace("host", f"host{number}") for number in itertools.count())
    text = ""
    while len(text) < size:
        text += next(pages) + "\n"
    return text[:size]


class MadeUpRun:
    """Builds the events of one run, in order, with times that only ever go up."""

    clock = itertools.count(1_700_000_000)

    def __init__(self, run: str = "a1b2c3d4", *, depth: int = 0) -> None:
        self.run = run
        self.depth = depth
        self._calls = itertools.count()

    def _who(self) -> tuple[str, int, float]:
        return self.run, self.depth, float(next(self.clock))

    def started(self, question: str | None = "What?", size: int = 0, **options: object) -> Event:
        run, depth, time = self._who()
        return RunStarted(
            run=run,
            depth=depth,
            time=time,
            model="openai/root",
            question=question,
            context_type="str",
            context_size=size,
            environment="local",
            options=tuple(options.items()),
        )

    def call(self, prompt: str, text: str, turn: int = 1, child: str | None = None) -> Iterator[Event]:
        number = next(self._calls)
        run, depth, time = self._who()
        yield CallStarted(
            run=run,
            depth=depth,
            time=time,
            call=number,
            turn=turn,
            kind="rlm" if child else "llm",
            model="openai/sub",
            prompt=prompt,
            child=child,
            batch=None if child else (0, number, 9),
        )
        run, depth, time = self._who()
        reply = Reply(text=text, model="sub-2026", usage=USAGE, finish="length", reasoning="hm")
        yield CallFinished(
            run=run, depth=depth, time=time, call=number, reply=reply, error=None, usage=USAGE, seconds=0.5, waited=0.25
        )

    def failed_call(self, prompt: str, turn: int = 1) -> Iterator[Event]:
        started, finished = self.call(prompt, "", turn)
        assert isinstance(finished, CallFinished)
        yield started
        yield CallFinished(
            run=self.run,
            depth=self.depth,
            time=finished.time,
            call=finished.call,
            reply=None,
            error=("rate_limit", "slow down"),
            usage=Usage(calls=1, unmetered=1),
            seconds=0.1,
        )

    def turn(
        self,
        number: int,
        code: str = "print(len(context))",
        output: str = "3\n",
        calls: Iterator[Event] | tuple[Event, ...] = (),
        answer: object = UNSET,
        draft: object = UNSET,
        error: CellError | None = None,
    ) -> Iterator[Event]:
        run, depth, time = self._who()
        who = {"run": run, "depth": depth, "time": time}
        text = f"I shall look.\n```repl\n{code}\n```\n"
        yield TurnStarted(**who, turn=number)
        yield ReplyText(**who, turn=number, text="I shall")
        yield ReplyReceived(**who, turn=number, reply=Reply(text=text, model="root-2026", usage=USAGE), seconds=1.25)
        yield CellStarted(**who, turn=number, block=0, code=code)
        yield CellOutput(**who, turn=number, block=0, text=output[:1])
        yield from calls
        cell = Cell(
            output=output,
            output_size=len(output),
            number=number,
            error=error,
            answer=answer,
            draft=draft,
            notices=("context was put back",),
            lost=("x",),
            seconds=0.25,
        )
        yield CellFinished(**who, turn=number, block=0, cell=cell)
        shown = f"[cell 0]\n{output}\n[turn {number} of 30]"
        yield TurnFinished(**who, turn=number, shown=shown if answer is UNSET else None, seconds=2.0)

    def notes(self, turn: int = 1) -> Iterator[Event]:
        """What is told of a run beside what it does."""
        run, depth, time = self._who()
        who = {"run": run, "depth": depth, "time": time}
        yield LimitApproached(**who, limit="max_tokens", used=512, allowed=1_000)
        yield LimitApproached(**who, limit="max_budget", used=0.5, allowed=1.0, booked=0.25, waiting=True)
        yield Compacted(**who, turn=turn, reply=Reply(text="so far: 3", model="root-2026", usage=USAGE), seconds=0.5)
        yield Warned(**who, text="openai/sub pushed back")

    def finished(self, response: str | None = "3", error: tuple[str, str] | None = None) -> Event:
        run, depth, time = self._who()
        return RunFinished(
            run=run,
            depth=depth,
            time=time,
            status=None if error else "answered",
            response=response,
            limit=None,
            error=error,
            usage=(("openai/root", USAGE), ("openai/sub", USAGE + USAGE)),
            seconds=9.5,
        )


def small_run(run: str = "a1b2c3d4") -> list[Event]:
    made = MadeUpRun(run)
    failure = CellError(type="KeyError", message="'k'", traceback="  File \"<cell 1>\", line 1\nKeyError: 'k'")
    return [
        made.started(size=3, max_iterations=30, backend="openai"),
        *made.turn(1, calls=tuple(made.call("count these", "three"))),
        *made.notes(),
        *made.turn(2, code="d['k']", output="", error=failure, draft={"n": 3, "rows": [1.5, None, True]}),
        *made.turn(3, calls=tuple(made.failed_call("again", turn=3)), answer="3", draft="3"),
        made.finished(),
    ]


def kept(events: list[Event]) -> tuple[Event, ...]:
    """Those of the events that a file holds: all but the live pieces."""
    return tuple(event for event in events if not isinstance(event, (ReplyText, CellOutput)))
