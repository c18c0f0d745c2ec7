"""What a run has to show for itself at any moment: its draft, its usage, and the result they make."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal

from rlm.calling import ordinary
from rlm.result import Completion, Output
from rlm.types import UNSET, Status, Usage, UsageSummary


def as_text(value: object, output: Output | None = None) -> str:
    """Any value as text; in `local` its `__str__` is the model's, and may do anything."""
    if isinstance(value, str):
        return value
    if output is None and type(value) is int:
        return str(Decimal(value))  # `str` of an int stops at 4,300 digits
    problem: Exception | None = None
    for show in (str if output is None else output.text, repr):
        try:
            return show(value)
        except BaseException as exc:
            problem = ordinary(exc)
    return f"<{type(value).__name__} that cannot be shown: {type(problem).__name__}: {problem}>"


class Outcome:
    """Kept by an agent while it works; every way a run can end makes its result here."""

    def __init__(self, model: str, context: object, output: Output | None) -> None:
        self.usage: dict[str, Usage] = {}
        self.draft: object = UNSET
        self._model = model
        self._context = context
        self._output = output
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def charge(self, model: str, usage: Usage) -> None:
        self.usage[model] = self.usage.get(model, Usage()) + usage

    def check(self, answer: object) -> object:
        """The answer as the type asked for. Raises `ValueError` with what is wrong."""
        return answer if self._output is None else self._output.check(answer)

    def answered(self, value: object) -> Completion:
        return self._completion("answered", value, value, None)

    def forced(self, limit: str | None) -> Completion:
        """The draft as a result. One that has not the type asked for is text only, and its value `None`."""
        if self.draft is UNSET:
            return self._completion("forced", "", None if self._output is not None else "", limit)
        try:
            value = self.check(self.draft)
        except ValueError:
            return self._completion("forced", as_text(self.draft), None, limit)
        return self._completion("forced", value, value, limit)

    def attach(self, exc: BaseException) -> None:
        """Give an exception what the run had."""
        result = self.forced(None)
        exc.result = replace(result, error=f"{type(exc).__name__}: {exc}")  # type: ignore[attr-defined]
        exc.partial_answer = None if self.draft is UNSET else result.response  # type: ignore[attr-defined]

    def _completion(self, status: Status, shown: object, value: object, limit: str | None) -> Completion:
        return Completion(
            root_model=self._model,
            prompt=self._context,
            response=as_text(shown, self._output),
            value=value,
            status=status,
            limit=limit,
            usage_summary=UsageSummary(dict(self.usage)),
            execution_time=self.seconds,
        )
