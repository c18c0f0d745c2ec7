"""`VerbosePrinter`: runs as plain lines, one for each thing that happens."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Hashable
from typing import TextIO

from rlm.events import (
    CallFinished,
    CallStarted,
    CellFinished,
    CellStarted,
    Event,
    ReplyReceived,
    RunFinished,
    RunStarted,
    TurnStarted,
    Warned,
)
from rlm.logger.text import printable
from rlm.types import Usage, UsageSummary

LONGEST_TEXT = 2_000
LONGEST_PREVIEW = 120


class VerbosePrinter:
    """An observer that prints turns, code, output, sub-calls, usage and the answer to `stream`, by default stderr.

    The lines of one event stay together, whoever else prints there with another. When several runs share a stream,
    each line says whose it is.
    """

    def __init__(self, enabled: bool = True, *, stream: TextIO | None = None) -> None:
        self.enabled = enabled
        self._stream = stream

    def __call__(self, event: Event) -> None:
        lines = _lines(event) if self.enabled else []
        if not lines:
            return
        stream = self._stream or sys.stderr
        if stream is None:  # a program without a console
            return
        with _lock:
            mark = _mark(stream, event)
            text = "".join(f"{mark}{line}\n" for line in lines)
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()


class _Sharing:
    """The root runs that go on and are printed to one stream."""

    def __init__(self) -> None:
        self.roots: set[str] = set()
        self._several = False

    def mark(self, event: Event) -> str:
        """Whose a line is: said of a child's, and of every run's while several share the stream."""
        if event.depth == 0 and isinstance(event, RunStarted):
            self.roots.add(event.run)
        self._several = len(self.roots) > 1 or (self._several and bool(self.roots))
        if event.depth == 0 and isinstance(event, RunFinished):
            self.roots.discard(event.run)
        return f"{'  ' * event.depth}[{printable(event.run)}] " if event.depth or self._several else ""


_lock = threading.RLock()  # a signal handler may print where a print was interrupted
_sharing: dict[Hashable, _Sharing] = {}


def _mark(stream: TextIO, event: Event) -> str:
    place = _place(stream)
    sharing = _sharing.setdefault(place, _Sharing())
    mark = sharing.mark(event)
    if not sharing.roots:
        del _sharing[place]
    return mark


def _forget() -> None:
    """After a fork: whoever held the lock is not in this process, nor are the runs."""
    global _lock
    _lock = threading.RLock()
    _sharing.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _place(stream: TextIO) -> Hashable:
    try:
        return stream.fileno()  # also through what stands in its place while a `local` session is open
    except (AttributeError, OSError, ValueError):
        return f"object {id(stream)}"


def _lines(event: Event) -> list[str]:
    match event:
        case RunStarted():
            size = f"{event.context_size:,} characters of {event.context_type}"
            head = f"run {_inline(event.run)}: {_inline(event.model)}, {_inline(event.environment)}, context: {size}"
            return [head, *_block("question", event.question or "")]
        case TurnStarted():
            return [f"── turn {event.turn + 1} ──"]
        case ReplyReceived():
            return [*_block("reply", event.reply.text), f"  {_usage(event.reply.usage)}, {event.seconds:.1f} s"]
        case CellStarted():
            return _block(f"code {event.block + 1}", event.code, longest=None)
        case CellFinished(cell=cell):
            lines = _block("output", cell.output) + [f"  notice: {_inline(notice)}" for notice in cell.notices]
            lines += _block("error", cell.error.traceback or cell.error.message) if cell.error else []
            lines += [f"  names lost: {_inline(', '.join(cell.lost))}"] if cell.lost else []
            return [*lines, f"  {'stopped after' if cell.timed_out else 'ran'} {cell.seconds:.2f} s"]
        case CallStarted():
            what = f"{event.kind} call {event.call + 1} to {_inline(event.model)}"
            return [f"  → {what}, {len(event.prompt):,} characters: {_inline(event.prompt)}"]
        case CallFinished():
            end = f"{_usage(event.usage)}, {event.seconds:.1f} s"
            if event.error is not None:
                return [f"  ← call {event.call + 1} failed: {_inline(': '.join(event.error))} ({end})"]
            return [f"  ← call {event.call + 1}: {_inline(event.reply.text if event.reply else '')} ({end})"]
        case Warned():
            return [f"warning: {_inline(event.text, longest=LONGEST_TEXT)}"]
        case RunFinished():
            total = f"  {_usage(UsageSummary(dict(event.usage)).total)}, {event.seconds:.1f} s"
            if event.error is not None:
                return [f"run failed: {_inline(': '.join(event.error), longest=LONGEST_TEXT)}", total]
            return [*_block(_ending(event), event.response or ""), total]
        case _:
            return []


def _ending(event: RunFinished) -> str:
    return f"answer, forced by {_inline(event.limit or 'a limit')}" if event.status == "forced" else "answer"


def _block(name: str, text: str, longest: int | None = LONGEST_TEXT) -> list[str]:
    if longest is not None and len(text) > longest:
        half = longest // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters …\n{text[-half:]}"
    text = printable(text.strip("\n"))
    return [f"  {name}:", *(f"    {line}" for line in text.split("\n"))] if text else []


def _inline(text: str, longest: int = LONGEST_PREVIEW) -> str:
    cut = text if len(text) <= longest else text[:longest] + "…"
    return printable(" ".join(cut.split(" "))).replace("\n", "\\n").replace("\t", " ")


def _usage(usage: Usage) -> str:
    tokens = "tokens unknown" if usage.unmetered else f"{usage.input_tokens:,} + {usage.output_tokens:,} tokens"
    return f"{tokens}, {'cost unknown' if usage.cost is None else f'${usage.cost:.4f}'}"
