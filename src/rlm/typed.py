"""Answers with a type: what `output=T` means, by way of Pydantic. Imported only where a type is asked for."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from rlm.errors import ConfigurationError
from rlm.result import Output

LONGEST_SCHEMA = 4_000
ERRORS = 8


def output_of(kind: Any) -> Output:
    """What a run needs to know of the type: how the model is told of it, and how an answer is checked.

    Raises:
        ConfigurationError: Pydantic cannot check that type.
    """
    try:
        if inspect.isroutine(kind) or isinstance(kind, functools.partial):
            raise TypeError("it is a function")  # of which Pydantic would check the arguments
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        adapter.rebuild()  # a name in it that leads nowhere is an error here, not at each answer
        description = _describe(kind, adapter)
    except Exception as exc:  # Pydantic's, and whatever a type's own hooks raise
        raise ConfigurationError(f"output={kind!r} is not a type that Pydantic can check: {exc}") from exc

    def check(value: object) -> object:
        try:
            return _read(adapter.validate_python(value), value)
        except ValidationError as exc:
            if isinstance(value, str):
                try:
                    return _read(adapter.validate_json(value), value)
                except ValidationError:
                    pass
            raise ValueError(_errors(exc)) from None
        except Exception as exc:  # a validator of the user's may raise anything
            raise ValueError(f"checking it raised {type(exc).__name__}: {exc}") from exc

    def text(value: object) -> str:
        return value if isinstance(value, str) else adapter.dump_json(value, warnings=False).decode("utf-8")

    return Output(description=description, check=check, text=text)


def _read(checked: object, given: object) -> object:
    """Pydantic checks the items of an `Iterable` as they are read, which is once."""
    return list(checked) if isinstance(checked, Iterator) and checked is not given else checked


def _describe(kind: Any, adapter: TypeAdapter[Any]) -> str:
    name = getattr(kind, "__name__", None) if isinstance(kind, type) else None
    try:
        schema = json.dumps(adapter.json_schema(), ensure_ascii=False)
    except PydanticUserError:  # a type that can be checked but has no JSON Schema
        return name or repr(kind)
    schema = schema if len(schema) <= LONGEST_SCHEMA else schema[:LONGEST_SCHEMA] + "…"
    return f"{name or kind}, as JSON Schema {schema}"


def _errors(exc: ValidationError) -> str:
    rows = exc.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(str(step) for step in row['loc']) or 'the value'}: {row['msg']}" for row in rows[:ERRORS]]
    more = f"; and {len(rows) - ERRORS} more" if len(rows) > ERRORS else ""
    return "; ".join(shown) + more
