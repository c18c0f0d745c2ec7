"""The calls that an agent's code makes: a model, a whole RLM, a model in an RLM's stead at the depth limit, or a
tool."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

from rlm import calling, events
from rlm.errors import (
    JournalError,
    LimitError,
    LimitExceededError,
    LMError,
    ReplayMismatchError,
    RLMError,
    SetupError,
)
from rlm.journal import Ask, Journal, Place
from rlm.limiter import Stopwatch
from rlm.result import Completion
from rlm.tree import MOST_CHARS_PER_TOKEN, Model, Scope
from rlm.types import UNSET, Message, Query, Reply, Usage

Charge = Callable[[str, Usage], None]

CUT = "\n… [{:,} of {:,} characters of the context do not fit here] …\n"


def messages_of(query: Query) -> tuple[Message, ...]:
    return (Message("user", query.prompt),) if isinstance(query.prompt, str) else query.prompt


def as_text(messages: Sequence[Message]) -> str:
    """Messages as one text."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"[{m.role}]\n{m.content}" for m in messages)


def refuse_too_long(messages: tuple[Message, ...], model: Model) -> None:
    """Fail a prompt that cannot fit before it is sent, with both numbers."""
    window = model.window
    if window is None:
        return
    chars = sum(len(m.content) for m in messages)
    least = chars // MOST_CHARS_PER_TOKEN
    if least > window:
        raise LMError(
            f"the prompt has {chars:,} characters, at least {least:,} tokens; {model.name} takes {window:,} tokens",
            kind="context_length",
            hint=f"send at most {model.capacity():,} characters a call",
            model=model.name,
        )


def check_reply(reply: Reply) -> Reply:
    """A reply that is no answer becomes a failure: it must not be taken for a model's words."""
    if reply.finish == "refusal":
        raise LMError(
            reply.text or "the model declined to answer", kind="refusal", hint="ask differently", model=reply.model
        )
    if not reply.text.strip():
        cut = reply.finish == "length"
        raise LMError(
            "the reply is empty: its token limit was used up before any text" if cut else "the reply is empty",
            kind="empty",
            hint="raise max_tokens in the sampling arguments" if cut else "ask again, or differently",
            model=reply.model,
        )
    return reply


def flatten(query: Query, model: Model) -> tuple[tuple[Message, ...], str | None]:
    """An RLM's task as one model call: the question and as much of the context as fits; what to tell the caller, if
    cut."""
    *before, last = messages_of(query)
    if query.context is UNSET:
        return (*before, last), None
    text = _as_text(query.context)
    room = max(1_000, model.capacity() - sum(len(m.content) for m in (*before, last)) - 200)
    notice = None
    if len(text) > room:
        gone = len(text) - room
        notice = (
            f"rlm_query at the depth limit is one model call: {gone:,} of the {len(text):,} characters of its context "
            "did not fit and were left out of the middle"
        )
        text = text[: room // 2] + CUT.format(gone, len(text)) + text[len(text) - room // 2 :]
    return (*before, Message(last.role, f"{last.content}\n\nContext:\n{text}")), notice


def _as_text(context: object) -> str:
    if isinstance(context, str):
        return context
    try:
        return json.dumps(context, ensure_ascii=False, default=repr)
    except (TypeError, ValueError):
        return repr(context)


class Caller(Protocol):
    """The agent whose cells call: where it is, and how it starts another like itself."""

    turn: int
    block: int

    @property
    def usage(self) -> Mapping[str, Usage]: ...

    def start(self, scope: Scope, context: object, question: str | None) -> Caller: ...

    async def run(self) -> Completion: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entered:
    """A call that was counted: its number, and the RLM or the request it is for."""

    number: int
    child: Scope | None
    messages: tuple[Message, ...]
    notice: str | None
    at: Place | Ask


class CellHost:
    """What the cells of one agent may ask; see `Host`."""

    def __init__(self, scope: Scope, caller: Caller, charge: Charge, emit: Callable[..., None]) -> None:
        self.calls = 0
        self._scope = scope
        self._caller = caller
        self._charge = charge
        self._emit = emit
        self._children = 0
        self._notes: list[str] = []
        self.trouble: Exception | None = None
        """An exception of the host's own, which must end the run rather than be shown to the model."""

    def take_notes(self) -> list[str]:
        """What the model must be told of the calls made since the last time."""
        notes, self._notes = self._notes, []
        return notes

    @property
    def _place(self) -> Place:
        return Place(run=self._scope.path, cell=f"{self._caller.turn}.{self._caller.block}")

    def end_cell(self) -> None:
        """A cell is over. Raises what must end the run."""
        journal = self._scope.tree.journal
        trouble = self.trouble or (None if journal is None else journal.trouble)
        if trouble is not None:
            raise trouble
        if journal is not None:
            journal.end_cell(self._place)

    def _enter(self, query: Query, model: Model) -> _Entered:
        """Count a call and number it; with a journal, as it was numbered before."""
        scope, journal = self._scope, self._scope.tree.journal
        recurses = query.kind == "rlm" and scope.recursion
        flat = query.kind == "rlm" and not recurses
        messages, notice = flatten(query, model) if flat else (messages_of(query), None)
        if journal is None:
            scope.tree.ledger.count_subcall(model.name)
            number, child_number = self.calls, self._children
            at: Place | Ask = self._place
        else:
            sampling = {**model.sampling, **scope.sampling_at(scope.depth + 1)}
            if recurses:
                ask = journal.ask_child(self._place, model.name, query)
            else:
                ask = journal.ask_model(self._place, model.name, messages, sampling, counted=True)
            journal.admit(ask, scope.tree.ledger, model.name)
            number, child_number, at = ask.number or 0, ask.child_number, ask
        self.calls += 1
        child = scope.child(child_number, model) if recurses else None
        self._children += recurses
        return _Entered(number=number, child=child, messages=messages, notice=notice, at=at)

    async def query(self, query: Query) -> Reply:
        model = self._scope.named(query.model)
        try:
            entered = self._enter(query, model)
        except (ReplayMismatchError, JournalError) as exc:
            self.trouble = exc
            raise
        number, child = entered.number, entered.child
        used: dict[str, Usage] = {}

        def charge(name: str, usage: Usage) -> None:
            used[name] = used.get(name, Usage()) + usage
            self._charge(name, usage)

        watch = Stopwatch()
        self._emit(
            events.CallStarted,
            call=number,
            turn=self._caller.turn,
            kind=query.kind,
            model=model.name,
            prompt=as_text(entered.messages),
            child=None if child is None else child.path,
            batch=query.batch,
        )
        reply: Reply | None = None
        error: tuple[str, str] | None = None
        try:
            if child is not None:
                reply = await self._run_child(child, query, charge, watch)
            else:
                reply = await self._call_model(entered, model, charge, watch)
            # Code must not see how it was answered: it would do something else the second time.
            return replace(reply, usage=replace(reply.usage, reused=0)) if reply.usage.reused else reply
        except LMError as exc:
            error = (exc.kind, str(exc))
            raise
        except asyncio.CancelledError:
            error = ("cancelled", "the call was cut off")
            raise
        except Exception as exc:  # not a call that failed but a program that is wrong: it ends the run
            error = ("run", f"{type(exc).__name__}: {exc}")
            self.trouble = exc
            raise
        finally:
            total = sum(used.values(), Usage())
            self._emit(events.CallFinished, call=number, reply=reply, error=error, usage=total, **watch.times())

    async def _call_model(self, entered: _Entered, model: Model, charge: Charge, watch: Stopwatch) -> Reply:
        if entered.notice is not None:
            self._notes.append(entered.notice)
        refuse_too_long(entered.messages, model)
        sampling = self._scope.sampling_at(self._scope.depth + 1)
        reply = await self._scope.tree.call(model, entered.messages, sampling, charge, at=entered.at, sent=watch.sent)
        return check_reply(reply)

    async def _run_child(self, scope: Scope, query: Query, charge: Charge, watch: Stopwatch) -> Reply:
        """A whole RLM, one deeper. Its failure is the failure of this call."""
        question: str | None = as_text(messages_of(query))
        context = query.context
        if context is UNSET:
            context, question = question, None
        async with scope.tree.slots(scope.depth):
            watch.sent()
            child = self._caller.start(scope, context, question)
            try:
                completion = await child.run()
            except (LMError, ReplayMismatchError, JournalError, SetupError):
                raise
            except RLMError as exc:
                _raise_child_failure(exc, scope.model)
            finally:
                for name, usage in child.usage.items():
                    charge(name, usage)
        if completion.status == "forced":
            self._notes.append(f"an rlm_query was ended by {completion.limit}: its answer is the best it had")
        total = sum(child.usage.values(), Usage())
        return Reply(
            text=completion.response,
            model=scope.model.name,
            usage=total,
            finish="stop" if completion.status == "answered" else "forced",
        )

    async def call_tool(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        journal = self._scope.tree.journal
        if journal is None:
            return await self._tool(name, args, kwargs)
        try:
            return await self._journalled(journal, name, args, kwargs)
        except (ReplayMismatchError, JournalError) as exc:
            self.trouble = exc
            raise

    async def _journalled(
        self, journal: Journal, name: str, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> object:
        ask = journal.ask_tool(self._place, name, args, kwargs)
        if ask.entry is not None:
            return journal.recall_tool(ask)
        await journal.go_live()
        try:
            result = await self._tool(name, args, kwargs)
        except Exception as exc:
            error = await journal.raised(ask, exc)
        else:
            return await journal.returned(ask, result)
        raise error

    async def _tool(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        scope = self._scope
        if name == "budget" and "budget" not in scope.tools:
            return self.budget()
        if name not in scope.tools:
            raise NameError(f"there is no tool {name!r}")
        tool: Any = scope.tools[name][0]
        if not callable(tool):
            raise TypeError(f"{name} is a value, not a function")
        return await calling.call(tool, *args, **kwargs)

    def budget(self) -> dict[str, object]:
        """What is left: turns of this agent, and of the limits of the whole tree (`None`: no limit)."""
        turns = self._scope.limits.max_iterations - self._caller.turn - 1
        return {"turns": turns, **self._scope.tree.ledger.left()}

    def output(self, text: str) -> None:
        if self._scope.settings.stream:
            self._emit(events.CellOutput, turn=self._caller.turn, block=self._caller.block, text=text)


def through_host(tool: Any) -> Any:
    """A function as it is bound where there is a journal: called through the host in every environment."""

    async def asked(*args: object, **kwargs: object) -> object:
        raise RuntimeError("this stands for a function of the host and is never called itself")

    functools.update_wrapper(asked, tool)
    try:
        inspect.signature(asked)
    except ValueError:  # a built-in that tells no signature
        del asked.__wrapped__  # type: ignore[attr-defined]
    return asked


def _raise_child_failure(exc: RLMError, model: Model) -> NoReturn:
    draft = f"; its draft was: {exc.partial_answer}" if exc.partial_answer else ""
    message = f"the RLM failed: {exc}{draft}"
    if isinstance(exc, LimitExceededError):
        raise LimitError(message, hint="finish with what you have", model=model.name) from exc
    raise LMError(message, kind="run", model=model.name) from exc
