"""What the model is told before its first turn: the system prompt and the first message. The text itself is in
`rlm/prompts`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlm.policy.facts import describe
from rlm.types import Message

VARIANTS = (("qwen", "variant-qwen.md"),)  # seen to make thousands of calls: arXiv 2512.24601, appendix on prompts
PROMPTS = Path(__file__).parents[1] / "prompts"
WHOLE = 2_000  # characters up to which a context without a question is shown whole: it is the request itself


@dataclass(frozen=True, kw_only=True)
class Briefing:
    """The facts that the prompts state, each as one number in one unit."""

    model: str = ""
    """The model that is told this."""
    context_type: str
    subcall_chars: int
    models: tuple[str, ...]
    """Names that `model=` takes, the default first."""
    recursion: bool
    turns: int
    cell_timeout: float | None
    calls: int | None = None
    tools: Mapping[str, tuple[object, str]] | None = None
    """name → (tool or value, description)."""
    output_cap: int = 10_000
    guidance: bool = True
    """The paragraphs on who does what (`orchestrator`)."""


@cache
def text_of(name: str) -> str:
    """A prompt's text, by its file's name."""
    return (PROMPTS / name).read_text(encoding="utf-8")


def system_prompt(briefing: Briefing, custom: str | None = None) -> str:
    """The system prompt; a `custom` one is taken literally, with only the tools listed after it."""
    tools = _tools(briefing.tools or {})
    if custom is not None:
        return f"{custom}\n\n{tools}".strip() if tools else custom
    text = text_of("system.md")
    if not briefing.guidance:
        head, _, rest = text.partition("Who does what:")
        text = head + rest[rest.index("To submit:") :]
    values = _values(briefing, tools)
    return re.sub("<<([A-Z_]+)>>", lambda place: values[place[1]], text).strip()


def _values(b: Briefing, tools: str) -> dict[str, str]:
    models = ", ".join(f"{name!r}" for name in b.models)
    limits = [f"You have {b.turns} turns" if b.calls is None else f"You have {b.turns} turns and {b.calls} sub-calls"]
    if b.cell_timeout is not None:
        limits.append(f"a cell may run {b.cell_timeout:g} seconds, waiting for models not counted")
    recursion = (
        "\n- `rlm_query(question, context)`, `rlm_query_batched(questions, contexts=[…])` give a sub-task with a large "
        "context of its own to another model with a REPL like this one; they return its answer."
        if b.recursion
        else "\n- `rlm_query` exists but recursion is off here: it is a plain `llm_query`."
    )
    return {
        "OUTPUT_CAP": f"{b.output_cap:,}",
        "CONTEXT_TYPE": b.context_type,
        "SUBCALL_CHARS": f"{b.subcall_chars:,}",
        "MODELS": f" `model=` may be {models}." if len(b.models) > 1 else "",
        "RECURSION": recursion,
        "LIMITS": "; ".join(limits) + ".",
        "TOOLS": f"\n{tools}\n" if tools else "",
        "VARIANT": _variant(b.model),
    }


def _variant(model: str) -> str:
    """What a family of models needs to be told besides; the pattern is looked for in the model's name."""
    for pattern, name in VARIANTS:
        if pattern in model.lower():
            return "\n" + text_of(name).strip()
    return ""


def _tools(tools: Mapping[str, tuple[object, str]]) -> str:
    if not tools:
        return ""
    rows = [f"- {_signature(name, tool)}{': ' + text if text else ''}" for name, (tool, text) in tools.items()]
    return "Also in the REPL:\n" + "\n".join(rows)


def _signature(name: str, tool: object) -> str:
    if not callable(tool):
        return f"`{name}`, a {type(tool).__name__}"
    try:
        return f"`{name}{inspect.signature(tool)}`"
    except (TypeError, ValueError):  # a callable that tells no signature
        return f"`{name}(…)`"


def describe_tool(tool: object) -> str:
    """The first paragraph of a tool's documentation, for a tool given without a description."""
    if not callable(tool):
        return ""
    doc = inspect.getdoc(tool) or ""
    return " ".join(doc.partition("\n\n")[0].split())


def preview(context: object, question: str | None, about: Callable[[], str] | None = None) -> str:
    """What the first message shows of the context: constant-size facts, which `about` may know, or the whole of a short
    one that is the request itself."""
    if question is None and isinstance(context, str) and len(context) <= WHOLE:
        return context
    return describe(context) if about is None else about()


def first_message(
    context: object,
    question: str | None,
    *,
    shown: str | None = None,
    output: str | None = None,
    kept: str | None = None,
) -> str:
    """The question and the `preview` of the context, which is `shown` where it has been made before."""
    more = "".join(
        f"\n\n{text}" for text in (output and text_of("output.md").strip().replace("<<TYPE>>", output), kept) if text
    )
    shown = preview(context, question) if shown is None else shown
    if shown is context:
        return f"The request, whole (it is also in `context`):\n\n{shown}{more}"
    request = question if question is not None else "The request is in `context`: find it there and answer it."
    return f"{request}{more}\n\nAbout `context`:\n{shown}"


def kept_note(number: int, *, new_context: bool) -> str:
    """What the model is told of a session in which questions were answered before."""
    which = f"`context` is new (`context_{number}`)" if new_context else "`context` is the same as before"
    return (
        f"This REPL has answered {number} question{'s' if number > 1 else ''} before: {which}; names defined then are "
        "still there (SHOW_VARS()), earlier answers are in `answers`, the conversations in `history_0`, `history_1`, …"
    )


def opening(system: str, first: str, prologue: str | None) -> list[Message]:
    """The messages a run starts with."""
    extra = [Message("user", prologue)] if prologue else []
    return [Message("system", system), *extra, Message("user", first)]
