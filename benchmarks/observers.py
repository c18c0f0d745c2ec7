"""What observers cost a run: none, quick ones, OpenTelemetry, and one that never comes back.

    python benchmarks/observers.py [--repeat 5]

Runs over a scripted client, so that nothing but this library is timed. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rlm import RLM, Message
from rlm.events import Event, Observer
from rlm.otel import OpenTelemetryObserver
from rlm.testing import ScriptedClient

TURNS, CALLS = 200, 1_000


def turns(messages: Sequence[Message]) -> str:
    turn = sum(message.role == "assistant" for message in messages)
    return f"```repl\n{'print(1)' if turn < TURNS - 1 else 'FINAL(1)'}\n```"


def fan(messages: Sequence[Message]) -> str:
    return "leaf" if len(messages) == 1 else f"```repl\nFINAL(len(llm_query_batched(['leaf'] * {CALLS})))\n```"


def quick(event: Event) -> None:
    pass


def stuck(event: Event) -> None:
    threading.Event().wait()


def spans() -> Observer:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter(), max_queue_size=10_000))
    return OpenTelemetryObserver(tracer_provider=provider)


WATCHED: dict[str, Callable[[], list[Observer]]] = {
    "none": list,
    "one that does nothing": lambda: [quick],
    "four that do nothing": lambda: [lambda event: None for _ in range(4)],
    "`OpenTelemetryObserver`": lambda: [spans()],
    "one that is stuck": lambda: [stuck],
}


def measure(script: Callable[[Sequence[Message]], str], observers: list[Observer]) -> tuple[float, float]:
    """Seconds to the run's answer, and from there to the return."""
    rlm = RLM(backend=ScriptedClient(script), max_iterations=TURNS + 1, observers=observers)
    begun = time.perf_counter()
    result = rlm.completion("c", "q")
    return result.execution_time, time.perf_counter() - begun - result.execution_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each; the fastest counts (default 5)")
    options = parser.parse_args()
    print(f"| observers | {TURNS} turns | to the return | {CALLS:,} calls at once | to the return |")
    print("|---|---|---|---|---|")
    scripts = (turns, fan)
    rounds = [
        {name: [measure(script, make()) for script in scripts] for name, make in WATCHED.items()}
        for _ in range(options.repeat)
    ]
    for name in WATCHED:
        best = [min(found[name][number] for found in rounds) for number in range(len(scripts))]
        cells = [f"{1000 * seconds:.3g} ms" for pair in best for seconds in pair]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
