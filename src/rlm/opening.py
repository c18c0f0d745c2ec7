"""What an agent begins with: the names bound in its session, and what its model is told first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rlm.compaction import History
from rlm.errors import ConfigurationError
from rlm.journal import SEED_NAME
from rlm.policy import prompt
from rlm.protocols import Session
from rlm.result import Output
from rlm.subcalls import through_host
from rlm.tree import Scope
from rlm.types import Message


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a session that outlives the run lends to it."""

    session: Session
    number: int
    """Questions that it was asked before."""
    history: History
    """An empty one, which is the session's when the run is over."""
    about: Callable[[], str]
    """What the model is told of the context."""
    bring: Callable[[], Awaitable[None]] | None = None
    """Binds the context that came with the question. `None`: it is about the one there is."""


async def bind(scope: Scope, session: Session, context: object, kept: Kept | None) -> None:
    """Bind the context and the tools.

    Raises:
        ConfigurationError: one of them cannot be had in this environment.
    """
    try:
        await _bind(scope, session, context, kept)
    except TypeError as exc:
        hint = "give plain values: text, numbers, lists, dicts, dates"
        name = scope.settings.environment_name
        raise ConfigurationError(f"the environment {name!r} cannot take what it is given, {exc}: {hint}") from exc


async def _bind(scope: Scope, session: Session, context: object, kept: Kept | None) -> None:
    if kept is None:
        await session.bind("context", context)
    elif kept.bring is not None:
        await kept.bring()
    journal = scope.tree.journal
    if journal is not None:
        await session.bind(SEED_NAME, journal.seed(scope.path))
    for name, (tool, _) in scope.tools.items():
        await session.bind(name, through_host(tool) if journal is not None and callable(tool) else tool)
    if kept is not None and kept.number:
        await session.bind("answer", None)


def messages(
    scope: Scope, context: object, question: str | None, output: Output | None, kept: Kept | None, shown: str
) -> list[Message]:
    """The system prompt and the first message, with `shown` of the context."""
    settings, note = scope.settings, None
    if kept is not None and kept.number:
        note = prompt.kept_note(kept.number, new_context=kept.bring is not None)
    wanted = None if output is None else output.description
    first = prompt.first_message(context, question, shown=shown, output=wanted, kept=note)
    system = prompt.system_prompt(_briefing(scope, context), settings.system_prompt)
    return prompt.opening(system, first, settings.prologue)


def _briefing(scope: Scope, context: object) -> prompt.Briefing:
    settings = scope.settings
    names = [scope.model_at(scope.depth + 1).name]
    names += [model.name for model in settings.models if model.name not in names]
    limits, chars = scope.limits, scope.model_at(scope.depth + 1).capacity()
    numbers = {"turns": limits.max_iterations, "calls": limits.max_subcalls, "subcall_chars": chars}
    return prompt.Briefing(
        model=scope.model.name,
        context_type=f"a {type(context).__name__}",
        models=tuple(names),
        recursion=scope.recursion,
        cell_timeout=settings.cell_timeout,
        tools=scope.tools,
        guidance=settings.guidance,
        **scope.tree.fact(scope.path, "briefing", **numbers),
    )
