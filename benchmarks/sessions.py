"""A kept session's time per question, its first questions against its last: what it keeps must not cost."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from rlm import RLM, Message
from rlm.testing import ScriptedClient

TURNS, GROUP = 200, 20
CONTEXT = "a line of text\n" * 1_000


def model(messages: Sequence[Message]) -> str:
    """One cell that prints and defines a name of its own, and submits."""
    number = messages[-1].content.partition(".")[0].rpartition(" ")[2]
    return f"```repl\nfound_{number} = len(context)\nFINAL(found_{number} + {number})\n```"


def ask(environment: str, turns: int) -> list[tuple[float, float]]:
    """Seconds of wall clock and of this process's CPU, for each question."""
    seen = []
    with RLM(backend=ScriptedClient(model), environment=environment).session(CONTEXT) as session:
        for number in range(turns + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            result = session.ask(f"This is question {number}. How long is it?")
            seen.append((time.perf_counter() - wall, time.process_time() - cpu))
            assert result.value == len(CONTEXT) + number
    return seen[1:]  # the first opens the session and sends the context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--turns", type=int, default=TURNS)
    given = parser.parse_args()
    print(f"| environment | | questions 1 to {GROUP} | the last {GROUP} of {given.turns} | ratio |")
    print("|---|---|---|---|---|")
    for environment in ("local", "process"):
        runs = [ask(environment, given.turns) for _ in range(given.repeat)]
        for column, what in enumerate(("wall clock", "CPU of the program")):
            first, last = (
                min(statistics.median(seen[column] for seen in run[part]) for run in runs)
                for part in (slice(0, GROUP), slice(-GROUP, None))
            )
            print(
                f"| `{environment}` | {what} | {first * 1e3:.2f} ms | {last * 1e3:.2f} ms | {last / first:.2f}× |",
                flush=True,
            )


if __name__ == "__main__":
    main()
