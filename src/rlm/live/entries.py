"""The record, drawn: what stays on the screen of each thing that happened."""

from __future__ import annotations

from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rlm.live.record import Began, Ended, Item, Note, Ran, Said
from rlm.live.style import LONGEST, clipped, code, failures, line, safe, wrapped
from rlm.live.words import plural
from rlm.types import UNSET

CODE_LINES: Final = 15
OUTPUT_LINES: Final = 9
MARKED_LINES: Final = (5, 4)
"""Of code and of output, where several runs share the place."""
ANSWER_LINES: Final = 16
RULE: Final = 100
RAISE: Final = {
    "BudgetExceededError": "max_budget",
    "TimeoutExceededError": "max_timeout",
    "TokenLimitExceededError": "max_tokens",
    "SubcallLimitExceededError": "max_subcalls",
    "ErrorThresholdExceededError": "max_errors",
}


def record(item: Item, *, width: int, marked: bool) -> RenderableType:
    """One item for good; `marked` says whose it is, because several runs share the place."""
    match item:
        case Began():
            return _began(item, marked)
        case Ran():
            return _ran(item, width, marked)
        case Said():
            said = line(f"  {item.text or 'an empty reply'}", "dim")
            return Group(rule(f"turn {item.turn}", item.run, width, marked), said, line("  no code to run", "yellow"))
        case Note():
            whose = f"{item.run} · " if marked else ""
            return wrapped(f"{whose}warning: {item.text}", "yellow")
        case Ended():
            return _ended(item, width, marked)


def rule(title: str, run: str, width: int, marked: bool, style: str = "bold", right: str = "") -> Text:
    width = min(width, RULE)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("── ", "dim").append(safe(title), style)
    if marked:
        text.append(f" · {safe(run)}", "dim")
    right = f" {right}" if right else ""
    text.append(" " + "─" * max(0, width - text.cell_len - 1 - len(right)), "dim")
    return text.append(right, "dim")


def _began(item: Began, marked: bool) -> RenderableType:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(safe(item.model), "bold")
    text.append(f" · {safe(item.environment)} · {item.size:,} characters of {safe(item.kind)}")
    text.append(f" · run {safe(item.run)}", "" if marked else "dim")
    if not item.question:
        return text
    return Group(text, line(f"  {item.question}", "italic"))


def _ran(item: Ran, width: int, marked: bool) -> RenderableType:
    cell = item.cell
    seconds = f"{cell.seconds:.1f} s"
    parts: list[RenderableType] = []
    if item.first:
        times = f"model {item.thought:.1f} s · code {seconds}"
        parts.append(rule(f"turn {item.turn}", item.run, width, marked, right=times))
    if item.said:
        parts.append(line(f"  {item.said}", "dim"))
    code_lines, output_lines = MARKED_LINES if marked else (CODE_LINES, OUTPUT_LINES)
    parts += code(item.code, code_lines)
    if cell.output.strip():
        parts += clipped(cell.output, output_lines)
    if cell.error is not None:
        parts.append(line(f"  ✗ {cell.error.type}: {cell.error.message}", "red"))
        parts += [line(f"    {where}", "red dim") for where in _where(cell.error.traceback)]
    parts += [line(f"  {notice}", "yellow") for notice in cell.notices]
    if cell.lost:
        parts.append(line(f"  names lost: {', '.join(cell.lost)}", "yellow"))
    if item.calls:
        troubles = [f"{n:,} {how}" for n, how in ((item.failed, "failed"), (item.cut, "cut off")) if n]
        words = f"  {plural(item.calls, 'sub-call')} in {seconds}" + "".join(f", {trouble}" for trouble in troubles)
        parts.append(line(words, "cyan"))
        parts += failures(item.failures)
    if item.stopped:
        parts.append(line("  stopped here", "bold yellow"))
    return Group(*parts)


def _where(traceback: str) -> list[str]:
    """The last line of the model's own code in a traceback, and what stands there."""
    lines = traceback[-LONGEST:].splitlines()
    places = [number for number, text in enumerate(lines) if text.lstrip().startswith("File ")]
    return [text.strip() for text in lines[places[-1] : places[-1] + 2]] if places else []


def _ended(item: Ended, width: int, marked: bool) -> RenderableType:
    event = item.event
    kind, message = event.error or ("", "")
    if kind in ("CancelledError", "CancellationError"):
        head = rule("cancelled", item.run, width, marked, "bold yellow")
    elif kind:
        head = rule("failed", item.run, width, marked, "bold red")
    elif event.status == "forced":
        head = rule(f"forced by {event.limit}", item.run, width, marked, "bold yellow")
    else:
        head = rule("answered", item.run, width, marked, "bold green")
    parts: list[RenderableType] = []
    if not kind:
        parts.append(_answer(event.response or ""))
    elif kind not in ("CancelledError", "CancellationError"):
        parts.append(wrapped(f"{kind}: {message}", "red"))
        if kind in RAISE:
            parts.append(wrapped(f'Raise {RAISE[kind]}, or set on_limit="return" for the best answer at hand.'))
    if kind and item.draft is not UNSET:
        parts += [line("  partial answer:", "bold"), _answer(str(item.draft))]
    return head if item.brief else Group(head, *parts, wrapped(item.summary, "dim"))


def _answer(text: str) -> RenderableType:
    lines = safe(text[:LONGEST]).strip("\n").splitlines()
    body: list[RenderableType] = [Padding(Text(each), (0, 0, 0, 2)) for each in lines[:ANSWER_LINES]]
    if len(lines) > ANSWER_LINES or len(text) > LONGEST:
        body.append(line(f"  … {len(text):,} characters in all", "dim"))
    return Group(*body)
