"""Runs worth a picture, without a model: `python tools/scenes.py NAME` shows one; see screenshots.py."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rlm import RLM, CancellationError, Message, Price, RLMError
from rlm.errors import LMError
from rlm.testing import ScriptedClient

PRICE = Price(input=0.25, output=2.0)
PLACES = ("Oslo", "Lagos", "Lima", "Hanoi", "Turin", "Quito")
TICKETS = [f"#{n} from {PLACES[n % 6]}: the export of report {n % 37} fails with a timeout." for n in range(1000)]
QUESTION = "Which complaint is the most common, and how many tickets make it?"


def turns(messages: Sequence[Message]) -> int:
    return sum(message.role == "assistant" for message in messages)


def is_root(messages: Sequence[Message]) -> bool:
    return any(message.role == "system" for message in messages)


def client(script: Callable[[Sequence[Message]], object], least: float = 0.2, most: float = 1.2) -> ScriptedClient:
    """A model that takes its time, each call its own."""
    rng = random.Random(7)

    async def latency() -> None:
        await asyncio.sleep(rng.uniform(least, most))

    return ScriptedClient(script, model="gpt-5-mini", price=PRICE, latency=latency)  # type: ignore[arg-type]


LOOK = """Let me see what the tickets look like.
```repl
print(type(context).__name__, len(context))
print(context[0])
```"""
ASK = """They are short: one call for each, a thousand at once, and then a count.
```repl
from collections import Counter
PROMPT = "Name the complaint in this ticket in three words.\\n\\n"
print(f"asking about {len(context):,} tickets")
replies = llm_query_batched([PROMPT + ticket for ticket in context])
answer["content"] = Counter(str(reply) for reply in replies).most_common(1)[0][0]
```"""
COUNT = """```repl
named, count = Counter(reply for reply in replies if not isinstance(reply, LMError)).most_common(1)[0]
FINAL(f"{named}, in {count} of {len(context)} tickets")
```"""


def tickets(messages: Sequence[Message]) -> object:
    if is_root(messages):
        return (LOOK, ASK, COUNT)[min(turns(messages), 2)]
    number = int(messages[-1].content.rpartition("#")[2].split()[0])
    if number % 97 == 5:
        return LMError("Too many requests", kind="rate_limit", hint="lower max_concurrent_calls", model="gpt-5-mini")
    if number % 211 == 7:
        return LMError("declined by the provider's filter", kind="refusal", hint="ask differently", model="gpt-5-mini")
    return "export times out"


def fan_out() -> None:
    """A thousand calls at once, some of which fail."""
    options = {"max_concurrent_calls": 48, "max_budget": 0.5, "max_tokens": 400_000, "max_subcalls": 1500}
    rlm = RLM(backend=client(tickets), environment="process", verbose=True, **options)  # type: ignore[arg-type]
    try:
        rlm.completion(TICKETS, QUESTION)
    except CancellationError as error:
        print(f"CancellationError: {error}")


SPLIT = """I read the chapter in six parts, each with an RLM of its own.
```repl
size = -(-len(context) // 6)
parts = [context[start:start + size] for start in range(0, len(context), size)]
notes = rlm_query_batched([f"What happens here?\\n\\n{part}" for part in parts])
print(len(notes), "notes")
```"""


def chapters(messages: Sequence[Message]) -> object:
    if not is_root(messages):
        return "a note"
    return SPLIT if turns(messages) == 0 else "```repl\nFINAL('; '.join(notes)[:300])\n```"


def tree() -> None:
    """RLMs that call RLMs, down to depth 4."""
    options = {"max_depth": 5, "max_concurrent_subcalls": 60, "max_budget": 5.0}
    rlm = RLM(backend=client(chapters), environment="local", verbose=True, **options)  # type: ignore[arg-type]
    rlm.completion("It was a bright cold day in April. " * 20_000, "What happens in this book?")


def refused(messages: Sequence[Message]) -> object:
    if turns(messages) < 2:
        return tickets(messages) if is_root(messages) else "export times out"
    return LMError(
        "You exceeded your current quota", kind="rate_limit", hint="check the plan and its billing", model="gpt-5-mini"
    )


def failure() -> None:
    """A provider that refuses in the third turn."""
    try:
        RLM(backend=client(refused, 0.0, 0.1), verbose=True).completion(TICKETS[:60], QUESTION)
    except RLMError as error:
        print(f"{type(error).__name__}: the program has partial_answer={error.partial_answer!r}")


def many() -> None:
    """Twenty completions in twenty threads."""
    rlm = RLM(backend=client(tickets, 0.5, 3.0), verbose=True)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda n: rlm.completion(TICKETS[n * 50 : n * 50 + 50], QUESTION), range(20)))


if __name__ == "__main__":
    {scene.__name__: scene for scene in (fan_out, tree, failure, many)}[sys.argv[1]]()
