"""A run as something to look at: a fold over its events, the same small work for each however large the run is.

What ended is counted and forgotten, so what is kept is the size of what goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

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
from rlm.live.agent import Agent, Calls
from rlm.live.record import Began, Ended, Failures, Item, Note, Ran, Said, opening_words
from rlm.live.words import Spent, plural, span
from rlm.types import UNSET, Cell, Usage

RECENT: Final = 8
"""Agents that ended last, which are shown for a moment."""


@dataclass(frozen=True, slots=True)
class _Open:
    agent: Agent
    child: str | None
    batch: int | None


class Run:
    """A root run and all below it. `add` takes an event and gives what it adds to the record."""

    def __init__(self, event: RunStarted, *, answers: bool = True) -> None:
        self.path = event.run
        self.model = event.model
        self.environment = event.environment
        self.question = event.question
        self.started = event.time
        self.limits = dict(event.options)
        self.answers = answers
        self.root = Agent(event.run, 0, event.model, event.time, since=event.time)
        self.agents = {event.run: self.root}
        self.recent: deque[tuple[float, Agent]] = deque(maxlen=RECENT)
        self.agents_called = 0
        """Calls to RLMs that go on; those that have no agent yet wait for a place."""
        self.agents_begun = 1
        self.agents_failed = 0
        self.calls = Calls()
        self.spent = Spent()
        self.failures = Failures()
        """Of calls made since the root's last cell began."""
        self.draft: object = UNSET
        self._open: dict[tuple[str, int], _Open] = {}
        self._settling: dict[str, Spent] = {}
        self._before = Calls()
        self._said = ""
        self._thought = 0.0
        self._full: set[str] = set()
        self._ran = self._running = False
        self._block = 0

    def name(self, agent: Agent) -> str:
        """An agent's place below the root: `0/2` is the third child of the first."""
        return agent.path[len(self.path) + 1 :] or "root"

    def begin(self, event: RunStarted) -> Began:
        """The first thing in the record."""
        return Began(
            run=self.path,
            model=event.model,
            environment=event.environment,
            kind=event.context_type,
            size=event.context_size,
            question=event.question if self.answers else None,
        )

    def add(self, event: Event) -> Iterator[Item]:
        if isinstance(event, Warned):
            yield Note(run=self.path, text=event.text)
        elif isinstance(event, LimitApproached):
            if event.waiting and event.limit not in self._full:
                self._full.add(event.limit)
                yield Note(run=self.path, text=f"{event.limit} has no room for now: calls wait for those in flight")
        elif isinstance(event, RunStarted):
            if event.run not in self.agents:
                self._begin_child(event)
        elif (agent := self.agents.get(event.run)) is not None:
            if agent is self.root and self._running and isinstance(event, ReplyText | ReplyReceived | RunFinished):
                cell = Cell(output=agent.tail, seconds=event.time - agent.since)
                yield self._cell(agent.turn, self._block == 0, cell, stopped=True)
            self._move(agent, event)
            if agent is self.root:
                yield from self._record(event)

    def _begin_child(self, event: RunStarted) -> None:
        agent = Agent(event.run, event.depth, event.model, event.time, since=event.time)
        self.agents[event.run] = agent
        self.agents_begun += 1
        if (parent := self.agents.get(event.parent or "")) is not None:
            parent.children[event.run] = agent

    def _move(self, agent: Agent, event: Event) -> None:
        match event:
            case ReplyText():
                if agent.state != "writing":
                    agent.now("writing", event.time)
                agent.grow(event.text)
            case CellOutput():
                agent.grow(event.text)
            case CallStarted():
                self._begin_call(agent, event)
            case CallFinished():
                self._end_call(agent, event)
            case TurnStarted():
                agent.turn = event.turn + 1
                agent.now("thinking", event.time)
            case ReplyReceived():
                self._use(agent, event.reply.usage)
            case Compacted():
                self._use(agent, event.reply.usage)
            case CellStarted():
                agent.code = event.code
                agent.batches.clear()
                agent.now("running code", event.time)
            case CellFinished():
                agent.batches.clear()
                agent.now("reading output", event.time)
            case RunFinished():
                self._end_agent(agent, event)

    def _use(self, agent: Agent, usage: Usage) -> None:
        agent.spent.add(usage)
        self.spent.add(usage)

    def _begin_call(self, agent: Agent, event: CallStarted) -> None:
        for calls in (agent.calls, self.calls):
            calls.open += 1
        self.agents_called += event.child is not None
        batch = None
        if event.batch is not None:
            batch, _, size = event.batch
            agent.batches.setdefault(batch, [0, size])
        self._open[event.run, event.call] = _Open(agent, event.child, batch)

    def _end_call(self, agent: Agent, event: CallFinished) -> None:
        call = self._open.pop((event.run, event.call), None)
        if call is None:
            return
        agent.calls.end(event.error)
        self.calls.end(event.error)
        if call.batch in agent.batches:
            agent.batches[call.batch][0] += 1
        self._use(agent, event.usage)
        self.agents_called -= call.child is not None
        if call.child is not None and (known := self._settling.pop(call.child, None)) is not None:
            self.spent -= known  # the child's total, which has what its failed turns used, is the call's
        if event.error is not None and event.error[0] != "cancelled":
            below = f" of {self.name(agent)}" if agent is not self.root else ""
            self.failures.add(event.error, f"{event.call + 1}{below}")

    def _end_agent(self, agent: Agent, event: RunFinished) -> None:
        agent.now("done" if event.error is None else "failed", event.time)
        if agent is self.root:
            self.spent = Spent()
            for _, usage in event.usage:
                self.spent.add(usage)
            return
        self.agents.pop(agent.path)
        if (parent := self.agents.get(event.parent or "")) is not None:
            parent.children.pop(agent.path, None)
        self.agents_failed += event.error is not None
        self._settling[agent.path] = agent.spent
        self.recent.append((event.time, agent))

    def _record(self, event: Event) -> Iterator[Item]:
        match event:
            case TurnStarted():
                self._said, self._ran = "", False
            case ReplyReceived():
                self._said, self._thought = opening_words(event.reply.text), event.seconds
            case CellStarted():
                self._ran, self._running, self._block = True, True, event.block
                self.failures = Failures()
                self._before = Calls(done=self.calls.done, failed=self.calls.failed, cut=self.calls.cut)
            case CellFinished():
                yield self._cell(event.turn + 1, event.block == 0, event.cell)
            case TurnFinished() if not self._ran:
                yield Said(run=self.path, turn=event.turn + 1, text=self._said)
            case RunFinished():
                summary = self.summary(event.seconds)
                yield Ended(run=self.path, event=event, summary=summary, draft=self.draft, brief=not self.answers)

    def _cell(self, turn: int, first: bool, cell: Cell, *, stopped: bool = False) -> Ran:
        before, calls, self._running = self._before, self.calls, False
        if cell.draft is not UNSET:
            self.draft = cell.draft
        said, self._said = self._said, ""
        return Ran(
            run=self.path,
            turn=turn,
            first=first,
            said=said,
            thought=self._thought,
            code=self.root.code,
            cell=cell,
            calls=calls.ended - before.ended,
            failed=calls.failed - before.failed,
            cut=calls.cut - before.cut,
            failures=self.failures.lines(),
            stopped=stopped,
        )

    def summary(self, seconds: float) -> str:
        """The run in one line."""
        calls = self.calls
        troubles = [f"{count:,} {how}" for count, how in ((calls.failed, "failed"), (calls.cut, "cut off")) if count]
        parts = [
            plural(self.root.turn, "turn"),
            plural(calls.ended, "sub-call") + (f" ({', '.join(troubles)})" if troubles else ""),
            *([f"{self.agents_begun:,} agents"] if self.agents_begun > 1 else []),
            str(self.spent),
            span(seconds) if seconds >= 10 else f"{seconds:.1f} s",
        ]
        return " · ".join(parts)


def summary(events: Iterable[Event]) -> str:
    """A run in one line (turns, sub-calls, tokens, dollars, time) from its events; "" where there are none."""
    run: Run | None = None
    seconds = 0.0
    for event in events:
        if run is None:
            if isinstance(event, RunStarted):
                run = Run(event)
            continue
        for _ in run.add(event):
            pass
        seconds = event.seconds if isinstance(event, RunFinished) else event.time - run.started
    return "" if run is None else run.summary(seconds)
