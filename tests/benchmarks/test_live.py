"""The evaluation for real models, run with a scripted one: its tasks can be solved, and it tells waste from work."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlm import RLM, Message
from rlm.testing import ScriptedClient

PATH = Path(__file__).parents[2] / "benchmarks" / "live.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("live", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["live"] = module
    spec.loader.exec_module(module)
    return module


def repl(code: str) -> str:
    return f"```repl\n{code}\n```\n"


SOLUTIONS = {
    "vault": "import re\nFINAL(re.search(r'release code (\\d+)', context)[1])",
    "invoices": "import re\nFINAL(sum(int(n) for n in re.findall(r'customer=C;state=paid;cents=(\\d+)', context)))",
    "tickets": """
def judge(part):
    return llm_query(chr(10).join(part)).splitlines()
firsts = [f"{i}: {item.splitlines()[1]}" for i, item in enumerate(context)]
kinds = [line.split(": ")[1] for part in chunks(firsts, 2000) for line in judge(part)]
FINAL(", ".join(f"{k}={kinds.count(k)}" for k in ("refund", "login", "praise")))
""",
}


def solver(messages: Sequence[Message]) -> str:
    live = sys.modules["live"]
    if len(messages) == 1:
        kind_of = {text: kind for kind, texts in live.SUBJECTS.items() for text in texts}
        lines = messages[0].content.splitlines()
        return "\n".join(f"{line.split(': ')[0]}: {kind_of[line.split(': ')[1].rstrip('.')]}" for line in lines)
    return repl(next(code for word, code in SOLUTIONS.items() if word in messages[1].content.split("\n")[0]))


def test_every_task_can_be_solved_and_the_score_says_so() -> None:
    live = load()
    outcomes = live.evaluate(RLM(backend=ScriptedClient(solver)), [make() for make in live.TASKS])
    assert [(o.task, o.score, o.wasted, o.error) for o in outcomes] == [
        ("needle", 1.0, 0, None),
        ("totals", 1.0, 0, None),
        ("tickets", 1.0, 0, None),
    ]
    assert outcomes[2].subcalls > 1
    assert outcomes[0].turns == 1


def test_a_wrong_answer_scores_nothing_and_wasted_turns_are_counted() -> None:
    live = load()
    client = ScriptedClient(
        ["let me think", repl("1/0"), repl("x = 1"), repl("print(len(context))"), repl("FINAL('no')")]
    )
    (outcome,) = live.evaluate(RLM(backend=client), [live.needle()])
    assert (outcome.score, outcome.turns, outcome.wasted) == (0.0, 5, 3)


def test_a_run_that_fails_is_an_outcome_too() -> None:
    live = load()
    (outcome,) = live.evaluate(RLM(backend=ScriptedClient([repl("1/0")] * 9), max_errors=2), [live.totals()])
    assert outcome.score == 0.0
    assert "ErrorThresholdExceededError" in outcome.error
