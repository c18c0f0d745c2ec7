"""A run with all that a journal must hold: turns, batches, threads, child RLMs, tools, chance, failures."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlm import RLM, Completion, LMError, Message
from rlm.protocols import Environment
from rlm.testing import ScriptedClient

QUESTION = "what is it all?"
CONTEXT = {"numbers": list(range(20)), "words": {"b", "a", "c"}, "text": "x" * 70_000}

TURNS = [
    "import random\nsample = random.sample(context['numbers'], 5)\nprint(sample, random.random())",
    "replies = llm_query_batched([f'item {n}' for n in sample] + ['the same', 'the same'])\nprint(replies)",
    "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(4) as pool:\n"
    "    threaded = list(pool.map(llm_query, ['thread %d' % n for n in range(6)]))\nprint(threaded)",
    "children = rlm_query_batched(['child: one', 'child: two'], contexts=[context['numbers'][:3], {'k': (1, 2)}])\n"
    "print(children)\nprint(budget()['turns'])",
    "stored = [store(n, label='l') for n in sample]\n"
    "try:\n    store('bad')\nexcept ValueError as error:\n    failure = repr(error)\n"
    "try:\n    llm_query('declined')\nexcept LMError as error:\n    refusal = error.kind\n"
    "print(stored, failure, refusal)",
    "print('only words')\n",
    "FINAL([sample, replies, threaded, children, stored, failure, refusal])",
]
CHILD_TURNS = [
    "import random\nmine = [llm_query(f'{context!r} {random.randint(0, 9)}'), random.random()]\nprint(mine)",
    "FINAL([mine, llm_query('the same')])",
]


def code(source: str) -> str:
    return f"```repl\n{source}\n```"


def model(messages: Sequence[Message]) -> str | Exception:
    """Plays every model of the run; what it says follows from what it is asked."""
    if messages[0].role != "system":
        text = messages[-1].content
        if text == "declined":
            return LMError("no such thing is said", kind="refusal")
        return f"reply to {text}"
    turn = sum(message.role == "assistant" for message in messages)
    child = any(message.content.startswith("child:") for message in messages)
    return code((CHILD_TURNS if child else TURNS)[turn])


class Store:
    """A tool of the host with an effect: what it was called with is seen."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self._lock = threading.Lock()

    def __call__(self, value: object, label: str = "") -> dict[str, object]:
        """Stores a value."""
        with self._lock:
            self.calls.append(value)
        if value == "bad":
            raise ValueError("cannot be stored")
        return {"stored": value, "under": (label, None)}


class Scene:
    """The run, its model and its tool."""

    def __init__(self, environment: str | Environment = "local", script: Any = model, max_depth: int = 2) -> None:
        self.client = ScriptedClient(script)
        self.store = Store()
        self.environment = environment
        self.max_depth = max_depth

    @property
    def asked(self) -> int:
        return len(self.client.calls)

    def rlm(self, **options: Any) -> RLM:
        return RLM(
            backend=self.client,
            environment=self.environment,
            max_depth=self.max_depth,
            custom_tools={"store": self.store},
            **options,
        )

    def run(self, **options: Any) -> Completion:
        return self.rlm(**options).completion(CONTEXT, QUESTION)


def journal_of(folder: Path) -> Path:
    return folder / "journal.jsonl"
