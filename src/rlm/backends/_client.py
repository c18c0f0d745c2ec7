"""The client all providers share: a dialect turns values into a provider's JSON and back, a connection carries it.

Both are light; the connection is made on the first call, by the file that imports the provider's SDK.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rlm.backends import _pricing
from rlm.backends._failure import failure, shorten
from rlm.backends._load import preload
from rlm.backends._settings import Settings, merged
from rlm.errors import LMError
from rlm.types import Finish, Message, ModelInfo, Reply, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider's reply says. `tokens` holds counts, `None` when it tells none; `dollars` where it tells them."""

    text: str
    finish: Finish
    reasoning: str = ""
    tokens: Usage | None = None
    dollars: float | None = None


class Fold(Protocol):
    """A streamed reply being put together."""

    def feed(self, event: Mapping[str, Any]) -> str:
        """Take one event in; returns the text it adds."""
        ...

    def answer(self) -> Answer:
        """The whole; raises `LMError` (malformed) when the stream ended before the reply did."""
        ...


class Dialect(Protocol):
    """How one provider's API is spoken: no I/O, no state."""

    def path(self, model: str, *, stream: bool) -> str: ...

    def body(
        self, model: str, messages: Sequence[Message], sampling: Mapping[str, Any], info: ModelInfo, *, stream: bool
    ) -> dict[str, Any]: ...

    def read(self, data: Mapping[str, Any]) -> Answer:
        """A whole reply. Raises `LMError`."""
        ...

    def fold(self) -> Fold: ...


class Connection(Protocol):
    """One provider's SDK, opened. Retries happen inside; each HTTP request is told to `count_attempt`."""

    async def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes | str: ...

    def stream(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, Any]]]:
        """Events as they arrive. Raises `NotStreamed` when the server answered in one piece."""
        ...

    def failure(self, error: Exception) -> LMError | None:
        """What one of the SDK's exceptions means, `None` for an exception that is not the provider's."""
        ...

    def redact(self, text: str) -> str:
        """A text without the key."""
        ...

    async def aclose(self) -> None: ...


class NotStreamed(Exception):
    """A server was asked to stream and sent a whole reply."""

    def __init__(self, body: bytes) -> None:
        super().__init__("the reply was not streamed")
        self.body = body


class _Counter:
    attempts = 0


_counter: ContextVar[_Counter] = ContextVar("rlm_attempts")


def count_attempt() -> None:
    """One HTTP request is about to be sent for the call that runs in this context."""
    counter = _counter.get(None)
    if counter is not None:
        counter.attempts += 1


class ProviderClient:
    """A `Client` for one provider. Belongs to the event loop its first call ran in."""

    def __init__(
        self,
        settings: Settings,
        dialect: Dialect,
        connect: Callable[[Settings], Connection],
        *,
        sdk: str,
        address: Callable[[], str],
        priced_as: str | None = None,
        reports_cost: bool = False,
        key_variable: str = "",
    ) -> None:
        self._settings = settings
        self._dialect = dialect
        self._connect = connect
        self._sdk = sdk
        self._address = address
        self._priced_as = priced_as
        self._reports_cost = reports_cost
        self._key_variable = key_variable
        self._connection: Connection | None = None
        self._infos: dict[str, ModelInfo] = {}
        self._streams = True
        self._closed = False

    def __repr__(self) -> str:
        return f"<{self._settings.backend} client for {self.model!r}>"

    @property
    def model(self) -> str:
        return self._settings.model_name

    @property
    def origin(self) -> str:
        """Whose models these are, and where requests for them go."""
        return f"{self._settings.backend} {self._address().rstrip('/')}"

    @property
    def sampling_args(self) -> Mapping[str, Any]:
        """What is added to every request."""
        return self._settings.sampling_args

    def info(self, model: str | None = None) -> ModelInfo:
        name = model or self.model
        known = self._infos.get(name)
        if known is None:
            known = self._infos[name] = self._info(name)
        return known

    def _info(self, name: str) -> ModelInfo:
        info = _pricing.lookup(self._priced_as, name) if self._priced_as else ModelInfo()
        if name == self.model:
            window = self._settings.context_window or info.context_window
            info = replace(info, context_window=window, price=self._settings.price or info.price)
        return replace(info, reports_cost=self._reports_cost)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        on_text: Callable[[str], None] | None = None,
        **sampling: Any,
    ) -> Reply:
        if self._closed:
            raise RuntimeError("this client is closed")
        await self._ready()
        connection, name = self._connected(), model or self.model
        given = merged(self._settings.sampling_args, sampling)
        counter = _Counter()
        token = _counter.set(counter)
        try:
            answer = await self._ask(connection, name, messages, given, on_text)
        except Exception as error:
            told = error if isinstance(error, LMError) else connection.failure(error)
            if told is None:
                raise
            # Not chained: an SDK's exception holds the request, and with it the key.
            raise self._explain(told, connection, name, counter.attempts) from None
        except asyncio.CancelledError as error:
            error.attempts = counter.attempts  # type: ignore[attr-defined]
            raise
        finally:
            _counter.reset(token)
        return Reply(
            text=answer.text,
            model=name,
            usage=self._usage(answer, name, counter.attempts),
            finish=answer.finish,
            reasoning=answer.reasoning,
        )

    async def _ready(self) -> None:
        """Importing an SDK takes most of a second, which the event loop has better uses for."""
        if self._connection is not None:
            return
        try:
            await asyncio.to_thread(preload, self._sdk)
        except asyncio.CancelledError as error:
            error.attempts = 0  # type: ignore[attr-defined]
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect(self._settings)
        return self._connection

    async def aclose(self) -> None:
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _ask(
        self,
        connection: Connection,
        model: str,
        messages: Sequence[Message],
        sampling: dict[str, Any],
        on_text: Callable[[str], None] | None,
    ) -> Answer:
        headers = sampling.pop("extra_headers", {})
        extra = sampling.pop("extra_body", {})
        info = self.info(model)

        def body(*, stream: bool) -> dict[str, Any]:
            return {**self._dialect.body(model, messages, sampling, info, stream=stream), **extra}

        if on_text is not None and self._streams:
            try:
                return await self._follow(connection, model, body(stream=True), headers, on_text)
            except Exception as error:
                told = connection.failure(error)
                # A server that cannot stream says so in many ways; all of them name the word.
                if told is None or told.kind != "bad_request" or "stream" not in told.message.lower():
                    raise
                self._streams = False
        raw = await connection.post(self._dialect.path(model, stream=False), body(stream=False), headers)
        answer = self._dialect.read(decode(raw))
        if on_text is not None and answer.text:
            on_text(answer.text)
        return answer

    async def _follow(
        self,
        connection: Connection,
        model: str,
        body: dict[str, Any],
        headers: Mapping[str, str],
        on_text: Callable[[str], None],
    ) -> Answer:
        fold = self._dialect.fold()
        try:
            async with connection.stream(self._dialect.path(model, stream=True), body, headers) as events:
                async for event in events:
                    if text := fold.feed(event):
                        on_text(text)
        except NotStreamed as whole:
            answer = self._dialect.read(decode(whole.body))
            if answer.text:
                on_text(answer.text)
            return answer
        return fold.answer()

    def _usage(self, answer: Answer, model: str, attempts: int) -> Usage:
        tokens = answer.tokens
        dollars = answer.dollars
        if dollars is None and tokens is not None:
            if self._settings.price is not None and model == self.model:
                dollars = _pricing.cost(self._settings.price, tokens)
            elif self._priced_as:
                dollars = _pricing.dollars(self._priced_as, model, tokens)
        return replace(
            tokens if tokens is not None else Usage(unmetered=1),
            calls=1,
            attempts=attempts,
            dollars=dollars or 0.0,
            unpriced=int(dollars is None),
        )

    def _explain(self, error: LMError, connection: Connection, model: str, attempts: int) -> LMError:
        hint = error.hint
        if error.kind == "authentication":
            hint = f"check the key in {self._key_variable}, or in backend_kwargs={{'api_key': …}}"
        # After these nobody knows whether the provider worked, and billed, for nothing.
        unknown = int(error.kind in ("timeout", "malformed") or error.usage.unsettled > 0)
        usage = Usage(calls=1, attempts=attempts, unmetered=unknown, unpriced=unknown, unsettled=unknown)
        return LMError(
            connection.redact(error.message),
            kind=error.kind,
            hint=hint,
            model=model,
            status=error.status,
            usage=usage,
            retry_after=error.retry_after,
        )


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(body: Mapping[str, Any]) -> bytes:
    """JSON as UTF-8. A lone surrogate has no UTF-8 form and providers refuse its escape: it goes as a question mark."""
    return _encoder.encode(body).encode("utf-8", "replace")


def decode(raw: bytes | str) -> Mapping[str, Any]:
    """A reply's JSON object. Raises `LMError` (malformed)."""
    try:
        data = json.loads(raw)
    except ValueError:
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
        told = f"the reply is not JSON: {shorten(text)[:200]}" if text.strip() else "the reply is empty"
        raise failure("malformed", told) from None
    if not isinstance(data, dict):
        raise failure("malformed", f"the reply is JSON but no object: {str(data)[:200]!r}")
    return data
