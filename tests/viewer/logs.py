"""Trajectory files for the tests of the viewer: of real runs with children and failures, and made up."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlm import RLM, LMError, Message, Price, RLMLogger
from rlm.events import Event
from rlm.testing import ScriptedClient
from rlm.trajectory import TrajectoryWriter
from trajectory.runs import MadeUpRun, log_lines

__all__ = ["CODES", "MadeUpRun", "large", "log_lines", "real_run", "write"]

ANSWER = (
    "host-07 restarted three times. Each time its disk had been full for more than an hour before, and each time the "
    "retry loop of the uploader had filled it. After the third time somebody turned the uploader off by hand."
)
CODES: list[list[str]] = [
    [
        "print(len(context))\nprint(context[:400])",
        "lines = context.splitlines()\nprint(len(lnes))",
        "parts = [context[i:i + 5_000] for i in range(0, 20_000, 5_000)]\n"
        "notes = llm_query_batched([f'part {n}: what restarted?\\n\\n{p}' for n, p in enumerate(parts)])\n"
        "for note in notes:\n    print(note)",
        "kids = rlm_query_batched(['depth 1: check'] * 2, contexts=[context[20_000:30_000], context[30_000:34_000]])",
        f"FINAL({ANSWER!r})",
    ],
    [
        "note = llm_query('once more: ' + context[1_000:3_000])",
        "try:\n    llm_query('fail')\nexcept Exception as error:\n    print(error)",
        "FINAL(note)",
    ],
]


def real_run(folder: Path, *, size: int = 50_000, price: Price | None = None, **options: Any) -> tuple[Path, Any]:
    """A run of the engine with children, failed calls and a failing turn: its file and its result."""
    client = ScriptedClient(_model, price=price, model="scripted-model")
    rlm = RLM(backend=client, max_depth=2, environment="local", logger=RLMLogger(log_dir=str(folder)), **options)
    before = set(folder.glob("*.jsonl"))
    result = rlm.completion(log_lines(size), "depth 0: which host restarted?")
    (path,) = set(folder.glob("*.jsonl")) - before
    return path, result


def _model(messages: Sequence[Message]) -> str:
    if len(messages) == 1:
        if messages[0].content == "fail":
            raise LMError("slow down", kind="rate_limit")
        return (
            f"It says that {ANSWER}."
            if re.match("part 2|once more", messages[0].content)
            else "Nothing of the kind is in it."
        )
    depth = int(re.search(r"depth (\d)", messages[1].content)[1])  # type: ignore[index]
    turn = sum(message.role == "assistant" for message in messages)
    return f"I shall look.\n```repl\n{CODES[depth][turn]}\n```\n"


def write(path: Path, events: Sequence[Event]) -> Path:
    with TrajectoryWriter(path) as writer:
        for event in events:
            writer(event)
    return path


def large(path: Path, events: int, calls: int = 2_000) -> Path:
    """About so many events: turns with thousands of calls each, one of which failed."""
    made = MadeUpRun()
    with TrajectoryWriter(path) as writer:
        writer(made.started(size=1_000_000))
        for turn in range(max(1, events // (2 * calls))):
            batch = itertools.chain.from_iterable(made.call(f"count {turn}-{n}", "three", turn) for n in range(calls))
            for event in made.turn(turn, calls=itertools.chain(batch, made.failed_call("once more", turn))):
                writer(event)
        writer(made.finished())
    return path
