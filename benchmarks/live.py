"""Tasks with known answers, run by a real model: `python benchmarks/live.py --model openai/gpt-5-mini [--sub-model …]`.

Costs money: `--max-budget` bounds each run. The inputs are made here, from a seed.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rlm import RLM, Completion, RLMError
from rlm.events import CallStarted, CellFinished, ReplyReceived, TurnFinished


@dataclass(frozen=True, kw_only=True)
class Task:
    name: str
    context: object
    question: str
    score: Callable[[str], float]
    """0 to 1 of an answer as text."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    task: str
    score: float
    turns: int
    wasted: int
    """Turns with nothing to run, with an error, or that printed nothing and submitted nothing."""
    subcalls: int
    tokens: int
    dollars: float | None
    seconds: float
    error: str | None = None


def needle(seed: int = 1, lines: int = 40_000) -> Task:
    """One line in a log of a few megabytes that is unlike the others."""
    rng = random.Random(seed)
    log = [
        f"2026-11-{1 + i % 28:02d} worker-{rng.randrange(9)} handled request {rng.randrange(10**9)}"
        for i in range(lines)
    ]
    code = f"{rng.randrange(10**6):06d}"
    log.insert(rng.randrange(lines), f"2026-11-13 vault opened by hand, release code {code}")
    return Task(
        name="needle",
        context="\n".join(log),
        question="Which release code was used to open the vault? Answer with the six digits.",
        score=lambda text: float(text.strip() == code),
    )


def totals(seed: int = 2, lines: int = 30_000) -> Task:
    """Exact work: the sum over a condition."""
    rng = random.Random(seed)
    rows = [
        (rng.choice("ABCDE"), rng.choice(["paid", "open", "void"]), rng.randrange(1, 100_000)) for _ in range(lines)
    ]
    total = sum(cents for customer, state, cents in rows if customer == "C" and state == "paid")
    return Task(
        name="totals",
        context="\n".join(f"invoice;customer={c};state={s};cents={n}" for c, s, n in rows),
        question="What is the total of customer C's paid invoices, in cents? Answer with the number.",
        score=lambda text: float(re.sub(r"\D", "", text) == str(total)),
    )


SUBJECTS = {
    "refund": [
        "I was charged twice and want my money back",
        "please return what I paid, the parcel never came",
        "it broke after a day, give me back the price",
    ],
    "login": [
        "my password is not accepted any more",
        "the code for signing in never arrives",
        "I am locked out since the update",
    ],
    "praise": [
        "just to say that your team was wonderful",
        "best service I have had in years",
        "thank you, all solved within minutes",
    ],
}


def tickets(seed: int = 3, count: int = 240) -> Task:
    """Judgement by meaning over many items, between boilerplate."""
    rng = random.Random(seed)
    kinds = [rng.choice(list(SUBJECTS)) for _ in range(count)]
    footer = "\n".join(
        f"Confidentiality notice, paragraph {i}: this message is for its addressee only." for i in range(40)
    )
    items = [f"Ticket {i}\n{rng.choice(SUBJECTS[kind])}.\n{footer}" for i, kind in enumerate(kinds)]
    truth = {kind: kinds.count(kind) for kind in SUBJECTS}

    def score(text: str) -> float:
        found = {k: int(n) for k, n in re.findall(r"(refund|login|praise)\W+(\d+)", text)}
        return sum(1 - min(1, abs(found.get(k, 0) - n) / n) for k, n in truth.items()) / len(truth)

    return Task(
        name="tickets",
        context=items,
        question="How many tickets ask for money back (refund), report trouble signing in (login), or only give thanks "
        "(praise)? Answer as: refund=N, login=N, praise=N",
        score=score,
    )


TASKS: tuple[Callable[[], Task], ...] = (needle, totals, tickets)


def evaluate(rlm: RLM, tasks: Sequence[Task]) -> list[Outcome]:
    """Each task once, one after the other."""
    return [_one(rlm, task) for task in tasks]


def _one(rlm: RLM, task: Task) -> Outcome:
    try:
        result: Completion | None = rlm.completion(task.context, question=task.question)
        error = None
    except RLMError as exc:
        result, error = exc.result, f"{type(exc).__name__}: {exc}"
    if result is None:
        return Outcome(
            task=task.name, score=0, turns=0, wasted=0, subcalls=0, tokens=0, dollars=None, seconds=0, error=error
        )
    events = result.trajectory
    root = [event for event in events if event.depth == 0]
    usage = result.usage_summary.total
    return Outcome(
        task=task.name,
        score=task.score(result.response) if error is None else 0.0,
        turns=sum(isinstance(event, ReplyReceived) for event in root),
        wasted=_wasted(root),
        subcalls=sum(isinstance(event, CallStarted) for event in events),
        tokens=usage.total_tokens,
        dollars=usage.cost,
        seconds=result.execution_time,
        error=error,
    )


def _wasted(events: Sequence[Any]) -> int:
    wasted = 0
    cells: list[Any] = []
    for event in events:
        if isinstance(event, CellFinished):
            cells.append(event.cell)
        elif isinstance(event, TurnFinished):
            failed = any(cell.error for cell in cells)
            silent = event.shown is not None and not any(cell.output.strip() for cell in cells)
            wasted += failed or silent
            cells = []
    return wasted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="provider/name of the root model")
    parser.add_argument("--sub-model", help="provider/name for sub-calls")
    parser.add_argument("--environment", default="process")
    parser.add_argument("--max-budget", type=float, default=1.0, help="dollars for each task")
    parser.add_argument("--only", choices=[make.__name__ for make in TASKS])
    options = parser.parse_args()
    rlm = RLM(
        model=options.model,
        sub_model=options.sub_model,
        environment=options.environment,
        max_budget=options.max_budget,
        max_timeout=900,
    )
    chosen = [make() for make in TASKS if options.only in (None, make.__name__)]
    print(
        f"{'task':10} {'score':>6} {'turns':>5} {'wasted':>6} {'calls':>5} {'tokens':>9} {'dollars':>8} {'seconds':>7}"
    )
    for outcome in evaluate(rlm, chosen):
        dollars = "unknown" if outcome.dollars is None else f"{outcome.dollars:.4f}"
        print(
            f"{outcome.task:10} {outcome.score:6.2f} {outcome.turns:5} {outcome.wasted:6} {outcome.subcalls:5} "
            f"{outcome.tokens:9,} {dollars:>8} {outcome.seconds:7.1f}  {outcome.error or ''}"
        )


if __name__ == "__main__":
    main()
