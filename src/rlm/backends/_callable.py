"""Any function as a backend: `async def f(messages) -> str | Reply | (str, Usage)`. A plain one runs in a thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlm import calling
from rlm.backends import _pricing, _settings
from rlm.backends._failure import failure
from rlm.backends._settings import merged
from rlm.errors import ConfigurationError, LMError
from rlm.types import Message, ModelInfo, Reply, Usage

Function = Callable[..., Any]


def create(function: Function, **backend_kwargs: Any) -> CallableClient:
    """A client that asks a function. `messages` is a tuple of `Message`.

    `model` and sampling arguments are passed to a function that takes them by name; those it cannot take are an error,
    never dropped. `backend_kwargs`: `model_name` (else the function's), `sampling_args`, `price`, `context_window`.
    """
    name = getattr(function, "__name__", type(function).__name__)
    settings = _settings.check(name, {"model_name": name, **backend_kwargs})
    for given in ("api_key", "base_url", "timeout"):
        if given in backend_kwargs:
            raise ConfigurationError(f"a function as backend takes no {given!r}")
    client = CallableClient(function, settings)
    refused = client.refused(settings.sampling_args)
    if refused:
        raise ConfigurationError(f"{name}() takes no {', '.join(map(repr, refused))}: sampling_args cannot reach it")
    return client


class CallableClient:
    """A `Client` around a function."""

    def __init__(self, function: Function, settings: _settings.Settings) -> None:
        self._function = function
        self._settings = settings
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError as exc:  # a built-in that tells no signature
            raise ConfigurationError(f"backend={function!r} is no function of the messages: {exc}") from exc
        self._open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._names = {p.name for p in list(parameters)[1:] if p.kind in named}

    @property
    def model(self) -> str:
        return self._settings.model_name

    def info(self, model: str | None = None) -> ModelInfo:
        if model not in (None, self.model):
            return ModelInfo()
        return ModelInfo(context_window=self._settings.context_window, price=self._settings.price)

    def refused(self, sampling: Mapping[str, Any]) -> list[str]:
        """Names the function does not take."""
        return [] if self._open else [name for name in sampling if name not in self._names]

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        on_text: Callable[[str], None] | None = None,
        **sampling: Any,
    ) -> Reply:
        name = model or self.model
        given = merged(self._settings.sampling_args, sampling)
        if refused := self.refused(given):
            raise failure("bad_request", f"the function takes no {', '.join(map(repr, refused))}", model=name)
        if self._open or "model" in self._names:
            given["model"] = name
        try:
            answer = await calling.call(self._function, tuple(messages), **given)
        except LMError:
            raise
        except Exception as error:
            usage = Usage(calls=1, attempts=1, unmetered=1, unpriced=1)
            words = f"{type(error).__name__}: {error}"
            hint = "the function that is the backend raised"
            raise failure("server", words, hint=hint, model=name, usage=usage) from error
        reply = self._reply(answer, name)
        if on_text is not None and reply.text:
            on_text(reply.text)
        return reply

    async def aclose(self) -> None:
        pass

    def _reply(self, answer: object, model: str) -> Reply:
        if isinstance(answer, Reply):
            return replace(answer, model=model, usage=self._priced(answer.usage))
        if isinstance(answer, str):
            return Reply(text=answer, model=model, usage=self._priced(None))
        if isinstance(answer, tuple) and len(answer) == 2:
            text, usage = answer
            if isinstance(text, str) and isinstance(usage, Usage):
                return Reply(text=text, model=model, usage=self._priced(usage))
        words = f"the function returned a {type(answer).__name__}, not str, Reply or (str, Usage)"
        raise failure("malformed", words, model=model, hint="")

    def _priced(self, usage: Usage | None) -> Usage:
        """What the function told, with what it left out: one call, and its price where that can be known."""
        usage = None if usage is None or usage == Usage() else usage.sound()
        metered = usage is not None and (usage.total_tokens > 0 or usage.unmetered > 0)
        known = usage or Usage()
        known = replace(known, calls=known.calls or 1, attempts=known.attempts or 1)
        if not metered:
            known = replace(known, unmetered=known.unmetered or 1)
        if known.dollars == 0 and not known.unpriced:
            if metered and self._settings.price is not None:
                return replace(known, dollars=_pricing.cost(self._settings.price, known))
            return replace(known, unpriced=1)
        return known
