"""What a journal costs and what it saves: overhead in a run with calls of 10 ms, resuming against running, a cassette's
size against its traffic, and how long a context takes to be told from another."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlm import RLM, Message
from rlm._journal_digest import Digester, task_digest
from rlm.testing import ScriptedClient

TURNS, CALLS, BATCH, AT_ONCE = 20, 200, 2_000, 50
LATENCY = 0.010


def model(source: str, turns: int) -> Any:
    """A model that runs `source` so many times, then submits."""

    def answer(messages: Sequence[Message]) -> str:
        if messages[0].role != "system":
            return "a reply of some forty characters or more"
        turn = sum(message.role == "assistant" for message in messages)
        return f"```repl\nturn = {turn}\n{source if turn < turns else 'FINAL(turn)'}\n```"

    return answer


SHAPES = {
    f"{CALLS} calls one after another in {TURNS} turns": (
        f"for n in range({CALLS // TURNS}):\n    print(llm_query(f'{{turn}}.{{n}} ' + 'some words ' * 50))",
        TURNS,
    ),
    f"{BATCH:,} calls, {AT_ONCE} at once": (
        f"r = r = llm_query_batched([f'{{n}} words ' * 50 for n in range({BATCH})])",
        1,
    ),
    f"{CALLS} turns": ("print('x' * 500)", CALLS),
}


def run(source: str, turns: int, **options: Any) -> tuple[float, float, ScriptedClient]:
    """Seconds of wall clock and of CPU, and the client, which knows the traffic."""
    client = ScriptedClient(model(source, turns), latency=0.0 if "replay" in options else LATENCY)
    rlm = RLM(backend=client, max_iterations=turns + 5, max_concurrent_calls=AT_ONCE, **options)
    begun, cpu = time.perf_counter(), time.process_time()
    rlm.completion("context", "question")
    return time.perf_counter() - begun, time.process_time() - cpu, client


def contexts() -> dict[str, object]:
    many = range(1_000_000)
    return {
        "100 MB of text": "x" * 100_000_000,
        "a dict of a million texts": {f"key {n}": f"value {n}" for n in many},
        "a dict of a million lists of two": {f"key {n}": [n, f"value {n}"] for n in many},
        "a list of 200,000 records of five fields": [
            {"id": n, "name": f"name {n}", "share": n / 3, "ok": n % 2 == 0, "tags": ["a", "b"]} for n in many[:200_000]
        ],
    }


def digest_seconds(context: object) -> float:
    begun = time.process_time()
    task_digest(context, "question", Digester())
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    print("| run | without | journal | synced | overhead | its CPU a call | resumed | share | file | traffic | share |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, (source, turns) in SHAPES.items():
        rows: dict[str, list[tuple[float, float]]] = {"without": [], "journal": [], "synced": [], "resumed": []}
        for _ in range(repeat):
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu, client = run(source, turns)
                rows["without"].append((wall, cpu))
                rows["journal"].append(run(source, turns, checkpoint=Path(folder, "a"))[:2])
                rows["synced"].append(run(source, turns, checkpoint=Path(folder, "b"), checkpoint_sync=True)[:2])
                rows["resumed"].append(run(source, turns, checkpoint=Path(folder, "a"))[:2])
                size = Path(folder, "a", "journal.jsonl").stat().st_size
        traffic = sum(sum(len(m.content) for m in call.messages) + 40 for call in client.calls)
        best = {kind: min(wall for wall, _ in seen) for kind, seen in rows.items()}
        work = {kind: min(cpu for _, cpu in seen) for kind, seen in rows.items()}
        print(
            f"| {name} | {best['without']:.3f} s | {best['journal']:.3f} s | {best['synced']:.3f} s "
            f"| {best['journal'] / best['without'] - 1:+.1%} "
            f"| {(work['journal'] - work['without']) / len(client.calls) * 1e6:.0f} µs "
            f"| {best['resumed']:.3f} s | {best['resumed'] / best['without']:.1%} "
            f"| {size / 1e6:.2f} MB | {traffic / 1e6:.2f} MB | {size / traffic:.0%} |"
        )
    print("\n| digest of | CPU |\n|---|---|")
    for name, context in contexts().items():
        print(f"| {name} | {min(digest_seconds(context) for _ in range(repeat)):.2f} s |")


if __name__ == "__main__":
    main()
