"""Answers with a type: what `output=T` means, by way of Pydantic. Imported only where a type is asked for."""

from __future__ import annotations

import json
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

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
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError) as exc:
        raise ConfigurationError(f"output={kind!r} is not a type that Pydantic can check: {exc}") from exc

    def check(value: object) -> object:
        try:
            return adapter.validate_python(value)
        except ValidationError as exc:
            if isinstance(value, str):
                try:
                    return adapter.validate_json(value)
                except ValidationError:
                    pass
            raise ValueError(_errors(exc)) from None
        except Exception as exc:  # a validator of the user's may raise anything
            raise ValueError(f"checking it raised {type(exc).__name__}: {exc}") from exc

    def text(value: object) -> str:
        return value if isinstance(value, str) else adapter.dump_json(value).decode("utf-8")

    return Output(description=_describe(kind, adapter), check=check, text=text)


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
