"""The kernel's plain dicts and the seams' frozen values, one into the other: shared by every environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlm.errors import LMError
from rlm.repl import calls
from rlm.types import UNSET, Cell, CellError, Message, Query


def query_of(params: Mapping[str, Any]) -> Query:
    """The query that a cell's request asks for; raises `ValueError` for one that no kernel makes."""
    kind, prompt, model, batch = params["kind"], params["prompt"], params.get("model"), params.get("batch")
    if kind not in ("llm", "rlm") or not (model is None or isinstance(model, str)):
        raise ValueError("not a query")
    return Query(
        kind=kind,
        prompt=prompt if isinstance(prompt, str) else tuple(_message(m) for m in prompt),
        model=model,
        context=params.get("context", UNSET),
        batch=None if batch is None else _batch(batch),
    )


def _message(value: Any) -> Message:
    if value["role"] not in ("system", "user", "assistant") or not isinstance(value["content"], str):
        raise ValueError("not a message")
    return Message(value["role"], value["content"])


def _batch(value: Any) -> tuple[int, int, int]:
    number, index, size = value
    if not all(type(n) is int for n in (number, index, size)):
        raise ValueError("not a batch")
    return number, index, size


def error_data(exc: Exception) -> dict[str, Any]:
    """What a cell is told of a query that failed."""
    if isinstance(exc, LMError):
        return {"message": exc.message, "kind": exc.kind, "hint": exc.hint, "model": exc.model}
    return {"message": f"{type(exc).__name__}: {exc}", "kind": "run", "hint": "", "model": None}


def cell_error(exc: Exception) -> calls.LMError:
    """The same as the exception that is raised in a cell of this process."""
    error: calls.LMError = calls.make_error(error_data(exc))
    return error


def cell_of(result: Mapping[str, Any]) -> Cell:
    """The cell that a kernel's result describes; raises `KeyError`, `TypeError` or `ValueError` where it is not one."""
    error = result["error"]
    return Cell(
        output=_typed(result["output"], str),
        output_size=_typed(result["output_size"], int),
        number=_typed(result["number"], int),
        error=None if error is None else _error_of(error),
        answer=result.get("answer", UNSET),
        draft=result.get("draft", UNSET),
        notices=tuple(_typed(notice, str) for notice in result["notices"]),
        seconds=float(result["seconds"]),
    )


def _error_of(error: Mapping[str, Any]) -> CellError:
    return CellError(**{name: _typed(error[name], str) for name in ("type", "message", "traceback")})


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {kind.__name__} was expected, not a {type(value).__name__}")
    return value


def stopped(cell: Cell, limit: float | None) -> Cell:
    """The cell as one that used up its time."""
    message = (
        f"the cell was stopped: it ran longer than cell_timeout, {limit:g} seconds of its own time. "
        "Work on less at a time, or split the work over several cells."
    )
    where = "" if cell.error is None else cell.error.traceback.rpartition("\n")[0]
    error = CellError(type="CellTimeout", message=message, traceback=f"{where}\nCellTimeout: {message}".strip())
    return replace(cell, error=error, answer=UNSET, timed_out=True)
