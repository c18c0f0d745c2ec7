"""The journal of a run: every model's reply and every tool's result, written down before it is used.

A run that was killed is run again with it, and is given what is there instead of paying twice; a finished one is
replayed from it without a provider. Code is executed again each time. What is in it is found by who asked (the
agent's path), where (turn and cell), what for (a digest of the request) and how often before, never by order of
arrival, so a reply is given to the request it was made for and to no other. The format is in docs/durable.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rlm import _journal_report as report
from rlm._journal_check import blobs_of
from rlm._journal_digest import Digester, joined, settings_text, text_digest
from rlm._journal_entry import (
    Ending,
    Entry,
    Key,
    Recording,
    Run,
    error_of,
    error_record,
    reply_of,
    reply_record,
    request_record,
)
from rlm._journal_file import JournalFile
from rlm._secret import Masks
from rlm.errors import JournalError, LimitError, LMError, ReplayMismatchError
from rlm.limits import Ledger
from rlm.repl.codec import decode, encode
from rlm.types import UNSET, Message, Query, Reply

__all__ = ["Ask", "Journal", "Place"]

SEED_NAME: Final = "__seed__"
"""Bound in every session of a run that has a journal: a kernel that is given this name seeds `random` with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something is asked: the agent's path, and `3` for its own turn 3, `3.0` for the first cell of it."""

    run: str
    cell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One thing that is asked, and what the journal has of it."""

    key: Key
    request: Mapping[str, Any] = field(repr=False)
    number: int | None = None
    """The call's number in its agent."""
    child: str | None = None
    entry: Entry | None = None

    @property
    def child_number(self) -> int:
        return 0 if self.child is None else int(self.child.rpartition("/")[2])


class Journal:
    """One run's. `recording` is what there was, `file` what it goes on in; without a file it is a replay, and whatever
    is not recorded is an error. Belongs to one event loop."""

    def __init__(
        self, of: Run, recording: Recording, file: JournalFile | None, *, secrets: Collection[str] = ()
    ) -> None:
        self.run = run = of.path
        self.answered_in = recording.turns(run) if of.ending == "answered" else 0
        """Turns that a recorded run took to its answer."""
        self._task = of.task
        self.divergences: list[str] = []
        """Where code that was executed again asked for something else than before; for the reader."""
        self.mismatch: ReplayMismatchError | None = None
        """Where a replay departed first."""
        self.warn: Callable[[str, str], None] = lambda run, text: None
        """Called with an agent's path and a divergence."""
        self.before_live: Callable[[], Awaitable[None]] | None = None
        """Called before the first call that is not recorded."""
        self.trouble: Exception | None = None
        """Why no such call can be made, which ends the run."""
        self.ending: Ending = "failed"
        """How the run ended, which is known when it has."""
        self.over = False
        self._recording = recording
        self._file = file
        self._masks = Masks(secrets)
        self._written = recording.messages()
        # In a replay nothing is hidden anew: what was, is known, and keys that are in reach only here change nothing.
        self._digester = Digester(
            self._masks if file is not None else None,
            covers=recording.covers,
            recorded=self._written,
            note=self._append,
        )
        self._asked: Counter[Key] = Counter()
        self._used: set[Key] = set()
        self._missed: dict[tuple[str, str], Ask] = {}
        self._departed: set[str] = set()
        self._facts: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._numbers, self._children = _Numbers(), _Numbers()
        for entry in recording.of(run):
            if entry.number is not None:
                self._numbers.reserve(entry.key.run, entry.number)
            if entry.child is not None:
                self._children.reserve(entry.key.run, int(entry.child.rpartition("/")[2]))

    @property
    def replaying(self) -> bool:
        """Whether there is nothing but the recording: no provider is called and no tool."""
        return self._file is None

    def seed(self, run: str) -> int:
        """For `random` in an agent's session: the same wherever the same is asked."""
        return int(text_digest(self._task + run.removeprefix(self.run))[:8], 16)

    # What is asked --------------------------------------------------------------------------------------------------

    def ask_model(
        self,
        place: Place,
        model: str,
        messages: Sequence[Message],
        sampling: Mapping[str, Any],
        *,
        counted: bool = False,
    ) -> Ask:
        """A model call. `counted` for one made from code, which has a number.

        Raises:
            ReplayMismatchError: in a replay, it is not recorded.
        """
        request: dict[str, Any] = {"model": model, "sampling": settings_text(sampling), "messages": messages}
        conversation = None if counted else place.run
        if shared := self._digester.shared(conversation, messages):
            request["prefix"] = [self._digester.last(place.run), shared]
        digest = self._digester.request(model, messages, sampling, conversation)
        return self._ask(place, "call", digest, request, numbered=counted)

    def ask_child(self, place: Place, model: str, query: Query) -> Ask:
        """An RLM of its own; `child` is its path. Raises `LMError` for a context that cannot be told from another."""
        prompt = (Message("user", query.prompt),) if isinstance(query.prompt, str) else query.prompt
        asked = self._digester.request(model, prompt, {})

        def whole(context: str) -> str:
            return joined([asked, context])

        try:
            context = "" if query.context is UNSET else self._value(place, "child", query.context, "context", whole)
        except TypeError as exc:
            raise LMError(f"the context cannot be journalled: {exc}", kind="bad_request", model=model) from None
        digest = whole(context)
        request = {"model": model, "sampling": f"context {context}" if context else "", "messages": prompt}
        ask = self._ask(place, "child", digest, request, numbered=True)
        if ask.entry is not None:
            return ask
        child = f"{place.run}/{self._children.take(place.run)}"
        return Ask(key=ask.key, request=request, number=ask.number, child=child)

    def ask_tool(self, place: Place, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Ask:
        """A call of one of the host's functions. Raises `TypeError` for arguments that cannot be carried."""
        given = [list(args), dict(kwargs)]

        def whole(arguments: str) -> str:
            return joined([name, arguments])

        digest = whole(self._value(place, "tool", given, name, whole))
        return self._ask(place, "tool", digest, {"tool": name, "given": repr(given)[:2_000]})

    def _value(self, place: Place, kind: str, value: object, name: str, whole: Callable[[str], str]) -> str:
        """The digest of a value in a request whose digest is `whole` of it."""
        if not self.replaying and self._recording.at(place.run, place.cell):
            plain = Digester().value(value, name)  # a key in it may not have been in reach when it was recorded
            if Key(place.run, place.cell, kind, whole(plain), 0) in self._recording.entries:
                return plain
        return self._digester.value(value, name)

    def _ask(self, place: Place, kind: str, digest: str, request: Mapping[str, Any], *, numbered: bool = False) -> Ask:
        key = Key(place.run, place.cell, kind, digest, 0)
        key = key._replace(nth=self._asked[key])
        self._asked[key._replace(nth=0)] += 1
        entry = self._recording.entries.get(key)
        ask = Ask(key=key, request=request)
        if entry is not None:
            self._used.add(key)
            return Ask(key=key, request=request, number=entry.number, child=entry.child, entry=entry)
        if self.replaying:
            raise self._departed_at(report.mismatch(self._recording, key, self._readable(request), self._used))
        if "." not in place.cell:
            self._own_turn_differs(ask)
        else:
            self._missed.setdefault((place.run, place.cell), ask)
        return Ask(key=key, request=request, number=self._numbers.take(place.run) if numbered else None)

    def admit(self, ask: Ask, ledger: Ledger, model: str) -> None:
        """Count a call from code. One that was refused is refused again, so that the code that saw it goes the same
        way; one that was made is counted, whatever the limit is now."""
        if ask.entry is None:
            try:
                ledger.count_subcall(model)
            except LimitError as exc:
                self._append({**self._record("unsent", ask), "error": error_record(exc)})
                raise
            if ask.child is not None:
                self._append({**self._record("child", ask), "child": ask.child})
        elif ask.entry.kind == "unsent":
            raise error_of(self._recording.read(ask.entry))
        else:
            ledger.subcalls += 1

    async def go_live(self) -> None:
        """Something is about to be called that is not recorded. Raises what must end the run."""
        if self.before_live is not None:
            try:
                await self.before_live()
            except Exception as exc:
                self.trouble = exc
                raise
            self.before_live = None

    # What came of it ------------------------------------------------------------------------------------------------

    def recall(self, ask: Ask) -> Reply | LMError:
        """The outcome of a model call that is recorded."""
        assert ask.entry is not None
        record = self._recording.read(ask.entry)
        return reply_of(record) if ask.entry.kind == "reply" else error_of(record)

    async def replied(self, ask: Ask, reply: Reply) -> None:
        """Write a reply down; when this returns it may be used."""
        self._append({**self._record("reply", ask), **reply_record(reply)})
        await self._commit()

    async def failed(self, ask: Ask, error: LMError) -> None:
        kind = "refused" if isinstance(error, LimitError) else "failure"
        self._append({**self._record(kind, ask), "error": error_record(error)})
        await self._commit()

    def recall_tool(self, ask: Ask) -> object:
        """The result of a tool's call that is recorded, or its exception, raised."""
        assert ask.entry is not None
        record = self._recording.read(ask.entry)
        if "raised" in record:
            raise _exception(record["raised"])
        return decode(record["result"], blobs_of(record))

    async def returned(self, ask: Ask, result: object) -> object:
        """Write a tool's result down; gives it as every later run will be given it. Raises `TypeError` for one that
        cannot be carried."""
        tree, blobs = encode(result, f"the result of {ask.request['tool']}")
        texts = [blob if isinstance(blob, str) else {"bytes": self._masks.data(blob).hex()} for blob in blobs]
        self._append({**self._record("tool", ask), "result": tree, "blobs": texts})
        await self._commit()
        return decode(tree, blobs)

    async def raised(self, ask: Ask, error: Exception) -> Exception:
        """Write a tool's failure down; gives it as every later run will be given it."""
        message = str(error.args[0]) if type(error) is KeyError and error.args else str(error)
        raised = {"type": type(error).__name__, "message": message}
        self._append({**self._record("tool", ask), "raised": raised})
        await self._commit()
        return _exception(raised)

    def fact(self, run: str, name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Numbers that a model is told and that are different each time (seconds, what is left): as they were told."""
        known = self.known_fact(run, name)
        if known is None:
            self._append({"type": "fact", "run": run, "name": name, "value": dict(value)})
            known = self._facts[run, name] = value
        return known

    def known_fact(self, run: str, name: str) -> Mapping[str, Any] | None:
        """A fact that was told, or is recorded, as long as the agent goes the way it went."""
        recorded = None if run in self._departed else self._recording.facts.get((run, name))
        return self._facts.get((run, name), recorded)

    def departed(self, text: str) -> ReplayMismatchError:
        """The error of a replay that cannot begin as it was recorded."""
        return self._departed_at(ReplayMismatchError(text, run="", place="the beginning"))

    def end_cell(self, place: Place) -> None:
        """A cell is over: what was asked in it before and not now is where the run departed."""
        missed = self._missed.pop((place.run, place.cell), None)
        left = [e for e in self._recording.at(place.run, place.cell) if e.key not in self._used]
        if not left or place.run in self._departed:
            return
        if self.replaying:
            raise self._departed_at(report.leftover(self._recording, place.run, place.cell, left))
        if missed is not None:
            self._depart(missed.key, missed.request, left)

    def end(self) -> None:
        """The run is over, not killed."""
        self.over = True
        with suppress(JournalError):  # a run without this mark can be gone on with too, and this one has its outcome
            self._append({"type": "end", "run": self.run, "ending": self.ending})

    # ----------------------------------------------------------------------------------------------------------------

    def _own_turn_differs(self, ask: Ask) -> None:
        """An agent's turn is answered once: another request in its place means that everything after differs too."""
        run, cell = ask.key.run, ask.key.cell
        if run in self._departed or not any(e.key not in self._used for e in self._recording.at(run, cell)):
            return
        below = f"{run}/"
        stale = [e for e in self._recording.of(self.run) if e.key.run == run or e.key.run.startswith(below)]
        self._depart(ask.key, ask.request, [e for e in stale if e.key not in self._used])
        self._departed.add(run)

    def _departed_at(self, error: ReplayMismatchError) -> ReplayMismatchError:
        self.mismatch = self.mismatch or error
        return error

    def _depart(self, key: Key, request: Mapping[str, Any], stale: Sequence[Entry]) -> None:
        text = report.divergence(self._recording, key, self._readable(request), self._used)
        self._append({"type": "void", "run": self.run, "keys": [list(entry.key) for entry in stale]})
        for entry in stale:
            self._recording.drop(entry.key)
        self.divergences.append(text)
        self.warn(key.run, text)

    def _readable(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """A request as it would be read from the file."""
        if "messages" not in request:
            return {name: self._masks.text(text) for name, text in request.items()}
        masked = [[m.role, self._masks.text(self._digester.content(m))] for m in request["messages"]]
        return {**request, "messages": masked}

    def _record(self, kind: str, ask: Ask) -> dict[str, Any]:
        record: dict[str, Any] = {"type": kind, **ask.key._asdict()}
        if record.pop("kind") == "child" and kind != "child":
            record["of"] = "child"
        if ask.number is not None:
            record["number"] = ask.number
        if "messages" in ask.request:
            return {**record, **request_record(ask.request, self._digester, self._written)}
        return {**record, **ask.request}

    def _append(self, record: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.append(record, self._masks)

    async def _commit(self) -> None:
        if self._file is not None:
            await self._file.commit()


class _Numbers:
    """Numbers from 0 on for each agent, without those that are recorded: a call that was in flight when the run was
    killed gets its own again."""

    def __init__(self) -> None:
        self._recorded: dict[str, set[int]] = {}
        self._next: Counter[str] = Counter()

    def reserve(self, run: str, number: int) -> None:
        self._recorded.setdefault(run, set()).add(number)

    def take(self, run: str) -> int:
        recorded = self._recorded.get(run, ())
        while (number := self._next[run]) in recorded:
            self._next[run] += 1
        self._next[run] += 1
        return number


def _exception(raised: Mapping[str, str]) -> Exception:
    """An exception of that name and message: the built-in one, or one that looks like what it was."""
    import builtins

    kind: Any = getattr(builtins, raised["type"], None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            error: Exception = kind(raised["message"])
        except TypeError:  # one that takes more than a message: a Unicode error, a group
            pass
        else:
            return error
    kind = type(raised["type"], (Exception,), {"__module__": "builtins"})  # which no traceback spells out
    return kind(raised["message"])  # type: ignore[no-any-return]
