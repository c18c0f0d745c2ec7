"""What the agents of one run share: models, environment, the ledger, the limiter, the event stream; and the scope
each runs in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from rlm.cache import Cache
from rlm.calling import awaited
from rlm.charging import CUT_OFF, Request, make_sound, size_of, sound_reply, used_by_cut_off, used_by_failure
from rlm.delivery import Delivery, failure_text, record
from rlm.errors import ConfigurationError, LMError, SetupError
from rlm.events import Event, LimitApproached, Observer, RunFinished, Warned
from rlm.journal import Ask, Journal, Place
from rlm.limiter import Limiter
from rlm.limits import NOTICES, Booking, Claim, Ledger, Limits
from rlm.protocols import Client, Environment
from rlm.types import Message, Reply, Usage

ASSUMED_WINDOW = 128_000
CHARS_PER_TOKEN = 3  # a careful estimate, for what a sub-call is said to take
MOST_CHARS_PER_TOKEN = 8  # no ordinary text has more: only a prompt that is surely too long is refused unsent


@dataclass(frozen=True, kw_only=True)
class Model:
    """A configured model: how it is asked for and how it is called."""

    name: str
    client: Client
    aliases: tuple[str, ...] = ()
    origin: str = ""
    """Whose model of that name it is, and at which address."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """What its client adds to every request."""

    @property
    def window(self) -> int | None:
        return self.client.info(self.name).context_window

    def capacity(self) -> int:
        """Characters that a prompt to it may have."""
        window = self.window or ASSUMED_WINDOW
        return (window - min(8_192, window // 4)) * CHARS_PER_TOKEN


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How every agent of a run works."""

    limits: Limits = field(default_factory=Limits)
    models: tuple[Model, ...]
    """The root's first, then those for sub-calls: by depth (the last serves all deeper ones) and by name."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    sub_sampling: Mapping[str, Any] | None = None
    environment_name: str = "local"
    cell_timeout: float | None = 300
    system_prompt: str | None = None
    guidance: bool = True
    prologue: str | None = None
    tools: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    sub_tools: Mapping[str, tuple[object, str]] | None = None
    compaction: bool = False
    compaction_share: float = 0.85
    options: tuple[tuple[str, object], ...] = ()
    """What is recorded of the configuration; never a key."""
    stream: bool = False
    """Whether anybody wants replies and output as they arrive."""

    def __post_init__(self) -> None:
        if len({model.name for model in self.models}) < len(self.models):
            names = ", ".join(model.name for model in self.models)
            raise ConfigurationError(f"models must differ in name, for sub-calls to tell them apart: {names}")
        for model in self.models:
            self.limits.check_price(model.name, model.client.info(model.name))


class Tree:
    """One run's shared parts. `models`, `ledger` and `limiter` are used through `call`, the one way to a provider.

    Observers are called on threads of their own, those that are `inline`, or say so of themselves, as things happen."""

    def __init__(
        self,
        settings: Settings,
        environment: Environment,
        observers: Sequence[Observer] = (),
        *,
        inline: Sequence[Observer] = (),
        journal: Journal | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.settings = settings
        self.environment = environment
        self.journal = journal
        self.cache = cache
        self.ledger = Ledger(settings.limits, self._approached)
        self.limiter = Limiter(settings.limits.max_concurrent_calls)
        self.events: list[Event] = []
        self._inline = [*inline, *filter(_is_inline, observers)]
        self._delivery = Delivery([observer for observer in observers if not _is_inline(observer)], self._warn_late)
        self._end: RunFinished | None = None
        self._told_at_once: float | None = None
        self._slots: dict[int, asyncio.Semaphore] = {}
        if journal is not None:
            journal.warn = self.warn

    @asynccontextmanager
    async def observed(self) -> AsyncIterator[None]:
        """The time of the run. Leaving it waits, for a limited time, for observers that are behind."""
        timers = self._time_notices()
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
            try:
                await self._delivery.settle()
            finally:
                end, self._end = self._end, None
                if end is not None:
                    self._dispatch(end)
                try:
                    await self._delivery.settle()
                finally:
                    self._delivery.close()

    def open_run(self, path: str, context: object) -> None:
        """Tell the observers that record contexts of an agent that begins."""
        for observer in self._inline:
            begin = getattr(observer, "open_run", None)
            if begin is not None:
                begin(path, context)

    def slots(self, depth: int) -> asyncio.Semaphore:
        """The places for live agents of that depth."""
        return self._slots.setdefault(depth, asyncio.Semaphore(self.settings.limits.max_concurrent_subcalls))

    def emit(self, event: Event) -> None:
        if isinstance(event, RunFinished) and event.parent is None and self._delivery:
            self._end = event  # the last of its run: what observers have yet to say of themselves comes before
        else:
            self._dispatch(event)

    def _dispatch(self, event: Event) -> None:
        self.events.append(event)
        for observer in list(self._inline):
            try:
                observer(event)
            except Exception as exc:
                self._inline.remove(observer)
                text = failure_text(observer, exc)
                record(text, exc)
                self.warn(event.run, text)
        self._delivery.put(event)

    def fact(self, run: str, name: str, **values: Any) -> Mapping[str, Any]:
        """What a model is told and what is different each time; in a run that is resumed, as it was told then."""
        return values if self.journal is None else self.journal.fact(run, name, values)

    def record(self) -> dict[str, Any]:
        """What a result says of how it came about."""
        divergences = () if self.journal is None else tuple(self.journal.divergences)
        return {"trajectory": tuple(self.events), "divergences": divergences}

    def warn(self, run: str, text: str) -> None:
        now = time.time() if self._end is None else self._end.time
        self.emit(Warned(run=run, depth=run.count("/"), time=now, text=text))

    def _warn_late(self, text: str) -> None:
        """Of an observer; what comes after the run's end is in the log only."""
        if self.events and not (isinstance(self.events[-1], RunFinished) and self.events[-1].parent is None):
            self.warn(self.events[0].run, text)

    def _approached(self, limit: str, used: float, waiting: bool) -> None:
        event = LimitApproached(
            run=self.events[0].run,
            depth=0,
            time=time.time(),
            limit=limit,
            used=used,
            allowed=getattr(self.settings.limits, limit),
            booked=self.ledger.booked(limit),
            waiting=waiting,
        )
        self.emit(event)

    def _time_notices(self) -> list[asyncio.TimerHandle]:
        limit, loop = self.settings.limits.max_timeout, asyncio.get_running_loop()
        return [
            loop.call_later(share * limit, self._approached, "max_timeout", share * limit, False)
            for share in NOTICES
            if limit
        ]

    async def call(
        self,
        model: Model,
        messages: Sequence[Message],
        sampling: Mapping[str, Any],
        charge: Callable[[str, Usage], None],
        *,
        at: Place | Ask,
        claim: Claim = "subcall",
        on_text: Callable[[str], None] | None = None,
        sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Call a provider within the limits; what it used goes to `charge`, however it ends. `at` is who asks, and
        where: what the journal has of it is not asked again. `sent` is called when the request has stood in line.

        Raises:
            LimitError: no limit of the run has room for it; nothing was sent.
            LMError: the call failed.
            ReplayMismatchError: this is a replay, and it is not recorded.
        """
        request = Request(
            model=model, messages=messages, sampling=sampling, charge=charge, claim=claim, on_text=on_text, sent=sent
        )
        journal = self.journal
        if journal is None:
            return await self._ask(request)
        ask = at if isinstance(at, Ask) else journal.ask_model(at, model.name, messages, {**model.sampling, **sampling})
        if ask.entry is not None:
            await asyncio.sleep(0)
            return self._again(journal.recall(ask), request)
        await journal.go_live()
        try:
            reply = await self._ask(request)
        except LMError as exc:
            await journal.failed(ask, exc)
            raise
        await journal.replied(ask, reply)
        return reply

    def _again(self, known: Reply | LMError, request: Request) -> Reply:
        """The outcome of a call that was made, and paid for, in an earlier life of this run."""
        used = used_by_failure(known) if isinstance(known, LMError) else known.usage
        used = replace(used, reused=used.calls)
        said = None if isinstance(known, LMError) else size_of(known)
        self.ledger.charge(request.booking(self.ledger), used, said)
        request.charge(request.model.name, used)
        if isinstance(known, LMError):
            raise known
        if request.on_text is not None and known.text:
            request.on_text(known.text)
        return replace(known, usage=used)

    async def _ask(self, request: Request) -> Reply:
        """The cache, or else the provider."""
        if self.cache is None:
            return await self._send(request)
        model = request.model
        key = self.cache.key(model.origin, model.name, request.messages, {**model.sampling, **request.sampling})
        reply = await self.cache.get(key)
        if reply is None:
            reply = await self._send(request)
            await self.cache.put(key, reply)
            if self.cache.trouble is not None:
                self.warn(self.events[0].run, self.cache.trouble)
                self.cache.trouble = None
            return reply
        request.charge(model.name, reply.usage)
        if request.on_text is not None:
            request.on_text(reply.text)
        return reply

    async def _send(self, request: Request) -> Reply:
        # Booked when it has its place and not before: by then replies have shown what such a call uses.
        async with self.limiter.slot():
            booking = request.booking(self.ledger)
            await self.ledger.book(booking)
            return await self._send_booked(request, booking)

    async def _send_booked(self, request: Request, booking: Booking) -> Reply:
        model, used = request.model, CUT_OFF
        said: int | None = None
        try:
            request.sent()
            asking = model.client.complete(
                request.messages, model=model.name, on_text=request.on_text, **request.sampling
            )
            reply = sound_reply(await awaited(asking), model.name)
            used, said = reply.usage, size_of(reply)
        except LMError as exc:
            make_sound(exc)
            used = exc.usage
            raise
        except SetupError:  # nothing was sent
            used = Usage()
            raise
        except asyncio.CancelledError as exc:
            used = used_by_cut_off(exc)
            raise
        finally:
            self.ledger.settle(booking, used, said)
            if self.limiter.report(pushed_back=used.attempts > 1):
                self._pushed_back(model)
            request.charge(model.name, used)
        return reply

    def _pushed_back(self, model: Model) -> None:
        """Tell of a provider that refuses calls: at first, and each time that half as many are made at once."""
        size = self.limiter.size
        if self._told_at_once is None or size <= self._told_at_once / 2:
            self._told_at_once = size
            text = f"{model.name} pushed back: for a while at most {int(size)} calls are made at once"
            self.warn(self.events[0].run, text)


def _is_inline(observer: Observer) -> bool:
    return bool(getattr(observer, "inline", False))


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What an agent inherits: the tree, its place in it, and the options that may differ by depth."""

    tree: Tree
    path: str
    depth: int = 0
    own_model: Model | None = None
    """The model asked for by name when this agent was started."""

    @property
    def root(self) -> bool:
        return "/" not in self.path

    @property
    def settings(self) -> Settings:
        return self.tree.settings

    @property
    def limits(self) -> Limits:
        """Its own. Where a run is gone on with, a child's are those it began with, since its parent was told how it
        ended; and an answered one has the turns that it took."""
        limits, journal = self.settings.limits, self.tree.journal
        if journal is None:
            return limits
        if self.root:
            turns = max(limits.max_iterations, journal.answered_in)
            return replace(limits, max_iterations=turns, max_errors=None) if journal.answered_in else limits
        own = {"max_iterations": limits.max_iterations, "max_errors": limits.max_errors}
        return replace(limits, **self.tree.fact(self.path, "limits", **own))

    @property
    def model(self) -> Model:
        """The model of this agent's own turns."""
        return self.own_model or self.model_at(self.depth)

    @property
    def sampling(self) -> Mapping[str, Any]:
        return self.sampling_at(self.depth)

    @property
    def tools(self) -> Mapping[str, tuple[object, str]]:
        if self.depth and self.settings.sub_tools is not None:
            return self.settings.sub_tools
        return self.settings.tools

    @property
    def recursion(self) -> bool:
        """Whether an `rlm_query` from here starts an RLM."""
        return self.depth + 1 < self.settings.limits.max_depth

    def model_at(self, depth: int) -> Model:
        models = self.settings.models
        return models[min(depth, len(models) - 1)]

    def sampling_at(self, depth: int) -> Mapping[str, Any]:
        sub = self.settings.sub_sampling
        return self.settings.sampling if depth == 0 or sub is None else sub

    def named(self, name: str | None) -> Model:
        """The model a sub-call goes to. Raises `LMError` for a name that is not configured."""
        if name is None:
            return self.model_at(self.depth + 1)
        for model in self.settings.models:
            if name == model.name or name in model.aliases:
                return model
        known = ", ".join(repr(model.name) for model in self.settings.models)
        raise LMError(f"no model {name!r} is configured here", kind="unknown_model", hint=f"there are: {known}")

    def child(self, number: int, model: Model) -> Scope:
        return Scope(tree=self.tree, path=f"{self.path}/{number}", depth=self.depth + 1, own_model=model)
