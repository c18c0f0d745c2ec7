"""Programs that show runs with `verbose=True`, each in a state that lasts until it is stopped: `programs.py NAME`."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rlm import RLM
from rlm.errors import LMError
from rlm.testing import ScriptedClient
from rlm.types import Message, Price, Reply

PRICE = Price(input=1.0, output=2.0)


def turns(messages: Sequence[Message]) -> int:
    return sum(message.role == "assistant" for message in messages)


def is_root(messages: Sequence[Message]) -> bool:
    return any(message.role == "system" for message in messages)


def code(source: str, prose: str = "I look first.") -> str:
    return f"{prose}\n```repl\n{source}\n```"


async def never() -> str:
    await asyncio.Event().wait()
    return ""


async def thousand(messages: Sequence[Message]) -> str | Reply:
    """Of a thousand calls 40 are answered, 3 fail and the others stay in flight."""
    if is_root(messages):
        if turns(messages) == 0:
            return code("print('first look', len(context))\nanswer['content'] = 'so far 12'")
        return code("# a thousand at once\nprint('asking')\nreplies = llm_query_batched([str(i) for i in range(1000)])")
    number = int(messages[-1].content)
    if number in (7, 11):
        raise LMError("too fast", kind="rate_limit", hint="ask less", model="scripted")
    if number == 30:
        raise LMError("not a word", kind="refusal", model="scripted")
    return "yes" if number < 43 else await never()


def fan_out() -> None:
    client = ScriptedClient(thousand, price=PRICE)
    rlm = RLM(backend=client, verbose=True, max_concurrent_calls=1000, max_budget=1.0, max_subcalls=1200)
    print(rlm.completion("x" * 5000, "How many?").response)


async def slow_to_end(messages: Sequence[Message]) -> str:
    try:
        return await never()
    finally:
        await asyncio.shield(never())


def stubborn() -> None:
    """A run that does not end when it is cancelled."""
    RLM(backend=ScriptedClient(slow_to_end), verbose=True).completion("x", "?")


async def branches(messages: Sequence[Message]) -> str:
    """Four RLMs, each of which asks four; those wait for a model."""
    if turns(messages) == 0 and "leaf" not in messages[-1].content:
        part = "leaf" if "branch" in messages[-1].content else "branch"
        return code(f"print('splitting')\nrlm_query_batched(['{part} %d' % i for i in range(4)])")
    return await never()


def tree() -> None:
    RLM(backend=ScriptedClient(branches), verbose=True, max_depth=3, max_concurrent_subcalls=16).completion("x", "root")


def failing(messages: Sequence[Message]) -> str:
    if turns(messages) == 0:
        return code("print('first look')")
    raise LMError("the key is wrong", kind="authentication", hint="set SOME_API_KEY", model="scripted")


def failure() -> None:
    try:
        RLM(backend=ScriptedClient(failing), verbose=True).completion("x", "?")
    except LMError:
        print("the program goes on")


async def noting(messages: Sequence[Message]) -> str:
    return code("for i in range(3):\n    note(i)") if turns(messages) == 0 else await never()


def chatty() -> None:
    """The program prints, and logs, and leaves a line unfinished, while the run is shown."""
    logging.basicConfig(level="INFO", format="%(message)s")

    def note(number: int) -> None:
        logging.getLogger("program").info("logged %d", number)
        # What a function prints while a cell calls it is the cell's output; this is the program's own.
        print(f"unfinished {number} ", end="", flush=True, file=sys.__stdout__)
        print("finished", flush=True, file=sys.__stdout__)

    RLM(backend=ScriptedClient(noting), verbose=True, custom_tools={"note": note}).completion("x", "?")


async def steps(messages: Sequence[Message]) -> str:
    if turns(messages) < 2:
        return code(f"print('step', {turns(messages) + 1}, 'of', context)")
    return await never() if "stay" in messages[1].content else code("FINAL(context)")


def many() -> None:
    """Twelve runs at once, of which two stay."""
    rlm = RLM(backend=ScriptedClient(steps), verbose=True)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda n: rlm.completion(f"part {n}", "stay" if n < 2 else "go"), range(12)))


def evil() -> None:
    bad = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eowned\r\x1b[1A"
    replies = [
        f"{bad}\n```repl\n# {bad}\nprint({bad!r})\nraise ValueError({bad!r})\n```",
        f"```repl\nFINAL({bad!r})\n```",
    ]
    RLM(backend=ScriptedClient(replies, model=bad), verbose=True).completion("x", bad)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
