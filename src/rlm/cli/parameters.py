"""`--option NAME=VALUE`: the parameters of `rlm.RLM` that have no option of their own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterable
from typing import Any, Final

import click

from rlm import RLM

FOR_PROGRAMS: Final = {
    *("backend", "depth", "limits", "logger", "observers", "persistent", "tools", "verbose"),
    *("on_subcall_start", "on_subcall_complete", "on_iteration_start", "on_iteration_complete"),
}
"""What is no text and no number, or has no meaning for one question."""

KEYS: Final = {"api_key", "x_api_key", "authorization"}


def parameters(given: Iterable[str], named: Collection[str]) -> dict[str, Any]:
    """What `NAME=VALUE` and `NAME.KEY=VALUE` set, VALUE being JSON, or text where it is none. `named` are the
    parameters with an option of their own.

    Raises:
        click.BadParameter: it is not of this form, or there is no such parameter.
    """
    settable = sorted(inspect.signature(RLM).parameters.keys() - FOR_PROGRAMS - set(named))
    values: dict[str, Any] = {}
    for text in given:
        path, separator, value = text.partition("=")
        name, _, key = path.strip().partition(".")
        if not separator:
            raise _bad(f"{text!r} is not NAME=VALUE")
        if name in named:
            raise _bad(f"{name} has an option of its own: --{name.replace('_', '-')}")
        if name not in settable:
            raise _bad(f"there is no parameter {name!r}; there are {', '.join(settable)}")
        if not key and name in values:
            raise _bad(f"{name} is given twice")
        if not key:
            values[name] = _value(value)
        elif isinstance(inside := values.setdefault(name, {}), dict):
            inside[key] = _value(value)
        else:
            raise _bad(f"{name} is given as a whole and by key")
        if _has_key(values[name]):
            raise _bad("a key on the command line is in everybody's sight: set the provider's environment variable")
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _has_key(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_key, value))
    if not isinstance(value, dict):
        return False
    return any(name.lower().replace("-", "_") in KEYS for name in value) or any(map(_has_key, value.values()))


def _bad(text: str) -> click.BadParameter:
    return click.BadParameter(text, param_hint="'--option'")
