"""Many runs at once, and a wide and deep tree: time and memory. `python benchmarks/tree.py`.

The model is scripted and answers after a fixed latency, so that what is measured is the library.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from pathlib import Path

from rlm import RLM, Message
from rlm.testing import ScriptedClient


def resident() -> int:
    """Peak memory of this process, bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]


def five_turns(messages: Sequence[Message]) -> str:
    done = sum(message.role == "assistant" for message in messages)
    return f"```repl\nprint(context, {done})\n```" if done < 4 else "```repl\nFINAL(context)\n```"


async def many(count: int, latency: float) -> None:
    rlm = RLM(backend=ScriptedClient(five_turns, latency=latency))
    await rlm.acompletion("warm", "q")
    before, began = resident(), time.perf_counter()
    results = await asyncio.gather(*(rlm.acompletion(f"context {n}", "q") for n in range(count)))
    took = time.perf_counter() - began
    right = sum(result.response == f"context {n}" for n, result in enumerate(results))
    size = (resident() - before) / count / 1024
    print(
        f"{count:,} completions of 5 turns at once, latency {latency * 1000:g} ms, `local`: {took:.2f} s, "
        f"{took / count * 1000:.2f} ms and {size:.0f} KiB a run, {right:,} right"
    )


def by_depth(messages: Sequence[Message]) -> str:
    depth = int(re.search(r"depth (\d)", messages[1].content)[1])  # type: ignore[index]
    if len(messages) > 2:
        return "```repl\nFINAL(result)\n```"
    below = f"1 + sum(int(n) for n in rlm_query_batched(['depth {depth + 1}'] * 6))"
    return f"```repl\nresult = {below if depth < 4 else 1}\n```"


async def tree(latency: float, concurrency: int) -> None:
    client = ScriptedClient(by_depth, latency=latency)
    rlm = RLM(backend=client, max_depth=5, max_concurrent_calls=concurrency)
    began = time.perf_counter()
    result = await rlm.acompletion("c", "depth 0")
    took = time.perf_counter() - began
    calls = result.usage_summary.total.calls
    bound, leaves = latency * calls / concurrency, latency * 2 * 6**4 / 4
    print(
        f"a tree of {result.response} agents, {calls:,} calls of {latency * 1000:g} ms, {concurrency} at once: "
        f"{took:.2f} s\n"
        f"  latency × calls ÷ concurrency is {bound:.2f} s: {took / bound:.2f}×\n"
        f"  with 4 live children a depth, 1,296 leaves of two turns take {leaves:.2f} s at least: {took / leaves:.2f}×"
    )


async def main() -> None:
    await many(1_000, 0.0)
    await many(1_000, 0.05)
    await tree(0.05, 8)


if __name__ == "__main__":
    asyncio.run(main())
