"""`backend_kwargs`, checked when they are given. No SDK is imported and no key is needed to get this far."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rlm.errors import ConfigurationError, SetupError
from rlm.types import Price

COMMON = ("model_name", "api_key", "base_url", "timeout", "sampling_args", "price", "context_window")
PRICES = ("input", "output", "cached", "cache_write")
UNUSED_KEY = "unused"
"""Sent where a server of the user's own asks for no key but its SDK insists on one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every backend is told; `extras` go to its SDK's client as they are (they may hold secrets)."""

    backend: str
    model_name: str
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    timeout: float | None = 300.0
    """Seconds without an answer before an attempt is given up; `None` waits for ever."""
    sampling_args: Mapping[str, Any] = field(default_factory=dict)
    price: Price | None = None
    context_window: int | None = None
    extras: Mapping[str, Any] = field(default_factory=dict, repr=False)


def check(backend: str, kwargs: Mapping[str, Any], *, extras: Sequence[str] = ()) -> Settings:
    """Settings out of `backend_kwargs`.

    Raises:
        ConfigurationError: a name is unknown or a value is not what the name takes.
    """
    accepted = (*COMMON, *extras)
    for name in kwargs:
        if name not in accepted:
            near = difflib.get_close_matches(str(name), accepted, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigurationError(f"{backend} takes no {name!r}{hint}; backend_kwargs may be: {', '.join(accepted)}")
    model = kwargs.get("model_name")
    if not isinstance(model, str) or not model.strip():
        raise ConfigurationError(f"{backend} needs backend_kwargs={{'model_name': …}}, a model's name, not {model!r}")
    for name in ("api_key", "base_url"):
        if not isinstance(kwargs.get(name), str | None):
            raise ConfigurationError(f"{name} is a string, not a {type(kwargs[name]).__name__}")
    url = kwargs.get("base_url")
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"base_url is an address that begins with http:// or https://, not {url!r}")
    return Settings(
        backend=backend,
        model_name=model,
        api_key=kwargs.get("api_key"),
        base_url=url,
        timeout=_number("timeout", kwargs.get("timeout", 300.0)),
        sampling_args=_mapping("sampling_args", kwargs.get("sampling_args")),
        price=price(kwargs.get("price")),
        context_window=_count("context_window", kwargs.get("context_window"), least=1),
        extras={name: _extra(name, kwargs[name]) for name in extras if kwargs.get(name) is not None},
    )


def price(value: object) -> Price | None:
    """A price out of `{"input": …, "output": …, "cached": …, "cache_write": …}`, dollars per million tokens."""
    if value is None:
        return None
    given = asdict(value) if isinstance(value, Price) else _mapping("price", value)
    unknown = [name for name in given if name not in PRICES]
    if unknown or not {"input", "output"} <= given.keys():
        raise ConfigurationError(f"price is {{'input': …, 'output': …}}, also cached and cache_write; not {given!r}")
    for name, amount in given.items():
        if amount is None and name not in ("input", "output"):
            continue
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < math.inf:
            raise ConfigurationError(f"price[{name!r}] is dollars per million tokens, not {amount!r}")
    return Price(**given)


def merged(settled: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling arguments of a client with those of a call, which go first; `None` is not given."""
    return {name: value for given in (settled, call) for name, value in given.items() if value is not None}


def find_key(settings: Settings, variables: Sequence[str], *, needed: bool) -> str:
    """The key given, else the first of the variables that is set, read now.

    Raises:
        SetupError: a key is needed and there is none; names the variable.
    """
    for key in (settings.api_key, *(os.environ.get(variable) for variable in variables)):
        if key is not None and (key := key.strip()):
            if not key.isascii() or not key.isprintable():
                raise SetupError(f"the key for {settings.backend} has characters that no key has: copy it again")
            return key
    if needed:
        raise SetupError(
            f"no key for {settings.backend}: set the environment variable {variables[0]}, "
            "or pass backend_kwargs={'api_key': …}"
        )
    return UNUSED_KEY


def _extra(name: str, value: Any) -> Any:
    if name == "max_retries":
        return _count(name, value, least=0)
    if name in ("default_headers", "default_query"):
        return _mapping(name, value)
    return value


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} is a number of seconds above zero, or None, not {value!r}")
    return value


def _count(name: str, value: Any, *, least: int) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ConfigurationError(f"{name} is a whole number of at least {least}, not {value!r}")
    return value


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(f"{name} is a dict with names as keys, not {type(value).__name__}")
    return dict(value)
