"""The loop: a model is told of a context it cannot see, writes code that looks at it, and submits an answer out of
the REPL.

Zhang, Kraska, Khattab: Recursive Language Models (arXiv 2512.24601), algorithm 1.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlm import events, opening
from rlm.charging import estimate
from rlm.compaction import History
from rlm.errors import (
    ErrorThresholdExceededError,
    LimitError,
    LimitExceededError,
    LMError,
    TimeoutExceededError,
)
from rlm.journal import Place
from rlm.limiter import Stopwatch
from rlm.limits import NOTICES, Claim
from rlm.opening import Kept as Kept
from rlm.outcome import Outcome
from rlm.policy import prompt, showing
from rlm.policy.facts import size_of
from rlm.policy.reading import Parsed, read_reply
from rlm.protocols import Session
from rlm.result import Completion, Output
from rlm.subcalls import CellHost, check_reply
from rlm.tree import ASSUMED_WINDOW, Scope
from rlm.types import UNSET, Cell, Message, Reply, Status, Usage

IDLE_TURNS = 3  # replies in a row with nothing to run, after which the run is ended
EMPTY_REPLIES = 3
LAST_ANSWER_SHARE = 0.1  # of max_timeout, kept for one last answer
LAST_ANSWER_SECONDS = 30.0


async def run(
    scope: Scope, context: object, question: str | None, *, output: Output | None = None, kept: Kept | None = None
) -> Completion:
    """Answer `question` about `context`, with a value of the type `output`. A `kept` session is used and left open.

    Raises:
        RLMError: a limit, a provider or the environment ended the run; `result` has what there was.
        asyncio.CancelledError: with `result` too.
    """
    agent = Agent(scope, context, question, output, kept)
    limit = scope.settings.limits.max_timeout
    if limit is None:
        return await agent.run()
    reserve = min(LAST_ANSWER_SHARE * limit, LAST_ANSWER_SECONDS)
    deadline = asyncio.timeout(limit - reserve)
    try:
        async with deadline:
            return await agent.run()
    except TimeoutError:
        if not deadline.expired():
            raise
        return await agent.end_at_deadline(limit)


class Agent:
    """One RLM at work."""

    def __init__(
        self,
        scope: Scope,
        context: object,
        question: str | None,
        output: Output | None = None,
        kept: Kept | None = None,
    ) -> None:
        self.scope = scope
        self.context = context
        self.question = question
        self.turn = self.block = 0
        self._output, self._kept = output, kept
        self._preview = ""
        self._history = History() if kept is None else kept.history
        self._failures: Counter[str] = Counter()
        self._told: set[object] = set()
        self._finished = False
        self.outcome = Outcome(scope.model.name, context, output)
        self._host = CellHost(scope, self, self.outcome.charge, self._emit)

    @property
    def usage(self) -> Mapping[str, Usage]:
        return self.outcome.usage

    def start(self, scope: Scope, context: object, question: str | None) -> Agent:
        """Another agent, for a task of its own."""
        return Agent(scope, context, question)

    # The run --------------------------------------------------------------------------------------------------------

    async def run(self) -> Completion:
        scope = self.scope
        scope.tree.open_run(scope.path, self.context)
        about = None if self._kept is None else self._kept.about
        self._preview = prompt.preview(self.context, self.question, about)
        self._emit(
            events.RunStarted,
            model=scope.model.name,
            question=self.question,
            context_type=type(self.context).__name__,
            context_size=size_of(self.context),
            environment=scope.settings.environment_name,
            options=scope.settings.options if scope.root else (),
            preview=self._preview,
        )
        try:
            if self._kept is not None:
                completion = await self._work(self._kept.session)
            else:
                async with scope.tree.environment.open() as session:
                    completion = await self._work(session)
        except (Exception, asyncio.CancelledError) as exc:
            if not (isinstance(exc, asyncio.CancelledError) and scope.root and self._at_deadline()):
                self._attach(exc)
            raise
        self._finish(completion.status, completion.response, completion.limit, None)
        return completion

    async def _work(self, session: Session) -> Completion:
        await self._prepare(session)
        limits, failing, idle = self.scope.limits, 0, 0
        for self.turn in range(limits.max_iterations):
            started = time.perf_counter()
            self._emit(events.TurnStarted, turn=self.turn)
            try:
                await self._compact_if_due(session)
                reply = await self._ask_root()
            except LimitError as exc:
                why = self.scope.tree.fact(self.scope.path, f"end {self.turn}", why=str(exc))["why"]
                return await self._end_at(exc.limit, self.scope.tree.ledger.exceeded(exc), why)
            parsed = read_reply(reply.text)
            cells, answer, extra = await self._run_blocks(session, parsed)
            if answer is not UNSET:
                self._history.say(Message("assistant", reply.text))
                self._emit(events.TurnFinished, turn=self.turn, shown=None, seconds=time.perf_counter() - started)
                return self.outcome.answered(answer)
            idle = 0 if parsed.blocks else idle + 1
            failing = failing + 1 if cells and cells[-1].error else 0
            shown = self._show(parsed, cells, extra, reply)
            self._history.say(Message("assistant", reply.text), Message("user", shown))
            self._emit(events.TurnFinished, turn=self.turn, shown=shown, seconds=time.perf_counter() - started)
            if idle >= IDLE_TURNS:
                return await self._end_at("idle", None, f"{idle} replies in a row had no code to run.", reply.text)
            if limits.max_errors is not None and failing >= limits.max_errors:
                last = cells[-1].error
                text = f"{last.type}: {last.message}" if last else None
                error = ErrorThresholdExceededError(failing, limits.max_errors, text)
                return await self._end_at("max_errors", error, f"{failing} turns in a row failed.")
        return await self._end_at("max_iterations", None, f"All {limits.max_iterations} turns are used.")

    async def _prepare(self, session: Session) -> None:
        await opening.bind(self.scope, session, self.context, self._kept)
        self._history.open(
            opening.messages(self.scope, self.context, self.question, self._output, self._kept, self._preview)
        )

    async def _compact_if_due(self, session: Session) -> None:
        """With `compaction`, near the model's window: a summary in the place of the turns, which go into `history`."""
        scope, settings = self.scope, self.scope.settings
        if not settings.compaction:
            return
        learned = scope.tree.ledger.tokens_per_char(scope.model.name)
        ratio = scope.tree.fact(scope.path, f"compaction {self.turn}", ratio=learned)["ratio"]
        window = int((scope.model.window or ASSUMED_WINDOW) / ratio)
        if not self._history.due(window, settings.compaction_share):
            return
        summary = await self._summary(window)
        if summary is None:
            return
        await session.bind("history", self._history.as_data())
        variables = await session.execute("print(SHOW_VARS())", self._host)
        self._history.compact(summary, variables.output.strip(), window)

    async def _summary(self, window: int) -> str | None:
        """What the model makes of its turns; `None`, for the turns to be kept, where that is no summary twice."""
        why = ""
        for what in (" compaction", " compaction again"):
            watch = Stopwatch()
            try:
                reply = await self._call(self._history.request(window), "turn", watch, what)
            except LMError as exc:
                if isinstance(exc, LimitError):
                    raise
                why = str(exc)
                continue
            used = reply.finish == "stop" and bool(reply.text.strip())
            self._emit(events.Compacted, turn=self.turn, reply=reply, used=used, **watch.times())
            if used:
                return reply.text
            why = "it was empty" if not reply.text.strip() else f"its end was {reply.finish!r}"
        self.scope.tree.warn(self.scope.path, f"no summary of the history could be had ({why}): the turns are kept")
        return None

    async def _ask_root(self) -> Reply:
        """The root model's next reply; an empty one is asked for again."""
        attempt = 0
        while True:
            watch, attempt = Stopwatch(), attempt + 1
            reply = await self._call(self._history.messages, "turn", watch, on_text=self._on_text())
            self._emit(events.ReplyReceived, turn=self.turn, reply=reply, **watch.times())
            if reply.text.strip() or attempt == EMPTY_REPLIES:
                break
        self._hold_back(self._history.messages, len(reply.text))
        return reply

    async def _call(
        self, messages: Sequence[Message], claim: Claim, watch: Stopwatch, what: str = "", on_text: Any = None
    ) -> Reply:
        """Ask this agent's own model."""
        scope = self.scope
        if claim == "turn" and self.turn:  # the first one leaves no room: without it there is no answer
            self._hold_back(messages, scope.tree.ledger.reply_chars(scope.model.name, claim))
        return await scope.tree.call(
            scope.model,
            messages,
            scope.sampling,
            self.outcome.charge,
            at=Place(run=scope.path, cell=f"{self.turn}{what}"),
            claim=claim if scope.root else "subcall",
            on_text=on_text,
            sent=watch.sent,
        )

    def _hold_back(self, messages: Sequence[Message], reply: int) -> None:
        """Keep room for one more turn and one last call, each of which sends these messages, a reply of so many
        characters, and what is shown after it."""
        scope, ledger = self.scope, self.scope.tree.ledger
        if scope.root:
            more = reply + showing.MOST
            ledger.hold_back(estimate(ledger, scope.model, messages, scope.sampling, "turn", more))

    def _on_text(self) -> Any:
        if not self.scope.settings.stream:
            return None
        turn = self.turn
        return lambda text: self._emit(events.ReplyText, turn=turn, text=text)

    async def _run_blocks(self, session: Session, parsed: Parsed) -> tuple[list[Cell], object, list[str]]:
        """Run the blocks of a reply in order until one fails or answers: the cells, the answer, what to add."""
        cells: list[Cell] = []
        extra: list[str] = []
        unseen = False
        for self.block, block in enumerate(parsed.blocks):
            self._emit(events.CellStarted, turn=self.turn, block=self.block, code=block.code)
            try:
                cell = await session.execute(block.code, self._host)
            except asyncio.CancelledError as exc:
                stopped = getattr(exc, "cell", None)
                if stopped is not None and stopped.draft is not UNSET:
                    self.outcome.draft = stopped.draft
                raise
            cell = replace(cell, notices=(*cell.notices, *self._host.take_notes()))
            self._host.end_cell()
            self._emit(events.CellFinished, turn=self.turn, block=self.block, cell=cell)
            cells.append(cell)
            if cell.draft is not UNSET:
                self.outcome.draft = cell.draft
            if cell.error is not None:
                key = hashlib.sha256(block.code.encode("utf-8", "surrogatepass")).hexdigest()
                self._failures[key] += 1
                if self._failures[key] >= showing.REPEATED_FAILURES:
                    extra.append(showing.repeated(self._failures[key]))
                break
            if cell.answer is not UNSET:
                if unseen:
                    extra.append(showing.HELD)
                    break
                try:
                    return cells, self.outcome.check(cell.answer), extra
                except ValueError as exc:
                    extra.append(f"the answer was not taken, it does not have the type asked for: {exc}")
                    break
            unseen = unseen or bool(cell.output.strip())
        return cells, UNSET, extra

    def _show(self, parsed: Parsed, cells: Sequence[Cell], extra: list[str], reply: Reply) -> str:
        limits = self.scope.limits
        if parsed.problem is not None and not parsed.blocks:
            case = parsed.problem
            extra.append("still nothing to run: see above." if case in self._told else case)
            self._told.add(case)
        if reply.finish == "length":
            extra.append("your reply was cut by its token limit; write less in one reply.")
        ledger, path = self.scope.tree.ledger, self.scope.path
        (share, limit), left = ledger.share_used(), ledger.left()["subcalls"]
        numbers = {"share": share, "limit": limit, "left": left, "seconds": self.outcome.seconds}
        told = self.scope.tree.fact(path, f"turn {self.turn}", turns=limits.max_iterations, **numbers)
        share, limit, left = told["share"], told["limit"], told["left"]
        for notice in NOTICES:
            if share >= notice and (limit, notice) not in self._told:
                extra[:] = [text for text in extra if not text.startswith("more than")]
                extra.append(f"more than {notice:.0%} of {limit} is used; budget() says what is left. Plan to finish.")
                self._told.add((limit, notice))
        calls, calls_left = self._host.calls, None if left is None else int(left)
        footer = showing.footer(self.turn + 1, told["turns"], calls, calls_left, told["seconds"])
        return showing.show_turn(cells, extra, len(parsed.blocks), footer)

    # How it ends ----------------------------------------------------------------------------------------------------

    async def _end_at(
        self, limit: str, error: LimitExceededError | None, why: str, fallback: str | None = None
    ) -> Completion:
        """A limit was reached: the draft, or else one last call, is the answer there is."""
        if self.outcome.draft is UNSET:
            try:
                self.outcome.draft = await self._last_answer(why)
            except LMError:
                self.outcome.draft = UNSET if fallback is None else fallback
        return self.ended_by(error, limit)

    async def _last_answer(self, why: str) -> str:
        """What the model makes of its turns, or of as much of them as there is room for."""
        force = Message("user", showing.FORCE.format(why=why))
        refused: LimitError | None = None
        for number, messages in enumerate(self._history.shorter()):
            watch = Stopwatch()
            what = f" last {number}" if number else " last"
            try:
                reply = await self._call([*messages, force], "last", watch, what, self._on_text())
            except LimitError as exc:
                refused = exc
                continue
            self._history.say(force, Message("assistant", reply.text))
            self._emit(events.ReplyReceived, turn=self.turn + 1, reply=reply, **watch.times())
            return check_reply(reply).text.strip()
        assert refused is not None
        raise refused

    def ended_by(self, error: LimitExceededError | None, limit: str) -> Completion:
        """The forced result, or the limit's exception with that result in it."""
        raising = error is not None and self.scope.settings.limits.on_limit == "raise"
        completion = self.outcome.forced(limit)
        if raising and error is not None:
            self._attach(error, limit)
            raise error
        if error is not None:
            self._finish(completion.status, completion.response, limit, None)
        return completion

    async def end_at_deadline(self, limit: float) -> Completion:
        """The time is up but for the reserve: the draft, or a last call while the reserve lasts."""
        ledger = self.scope.tree.ledger
        if self.outcome.draft is UNSET and self._history.messages:
            try:
                async with asyncio.timeout(max(0.0, limit - ledger.elapsed)):
                    self.outcome.draft = await self._last_answer("The time is up.")
            except (LMError, TimeoutError):
                self.outcome.draft = UNSET
            except asyncio.CancelledError as exc:
                self._attach(exc)
                raise
        return self.ended_by(TimeoutExceededError(ledger.elapsed, limit), "max_timeout")

    def _at_deadline(self) -> bool:
        limit = self.scope.settings.limits.max_timeout
        kept = 0.0 if limit is None else min(LAST_ANSWER_SHARE * limit, LAST_ANSWER_SECONDS)
        return limit is not None and self.scope.tree.ledger.elapsed >= limit - kept

    def _attach(self, exc: BaseException, limit: str | None = None) -> None:
        """Give an exception what the run had: draft, usage, trajectory."""
        if self._finished:
            return
        self._finish(None, None, limit, (type(exc).__name__, str(exc)))
        self.outcome.attach(exc)

    def _finish(
        self, status: Status | None, response: str | None, limit: str | None, error: tuple[str, str] | None
    ) -> None:
        if self._finished:
            return
        self._finished = True
        self._emit(
            events.RunFinished,
            status=status,
            response=response,
            limit=limit,
            error=error,
            usage=tuple(self.outcome.usage.items()),
            seconds=self.outcome.seconds,
        )

    def _emit(self, event: type[events.Event], /, **fields: Any) -> None:
        scope = self.scope
        scope.tree.emit(event(run=scope.path, depth=scope.depth, time=time.time(), **fields))
