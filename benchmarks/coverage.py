"""What it costs to know which parts of a context were read: by text while a log is written, and by run when a result is
asked. `python benchmarks/coverage.py`; milliseconds of processor time."""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlm import Completion, Reply, Usage, UsageSummary
from rlm.events import CallFinished, CallStarted, Event, ReplyReceived, RunStarted, TurnFinished
from rlm.trajectory import TrajectoryWriter

SIZES = (1_000_000, 20_000_000, 100_000_000)
PROMPT, OUTPUT = 50_000, 10_000
REPLY = Reply(text="two of them are slow", model="m", usage=Usage(calls=1))
WHO = {"run": "a1b2c3d4", "depth": 0, "time": 1.7e9}


def log_lines(size: int, seed: int) -> str:
    """Lines of some sixty characters, no two alike."""
    rng = random.Random(seed)
    line = "2026-11-22 host-{:02d} request {:012d} took {:.9f} s\n"
    page = "".join(line.format(rng.randrange(40), rng.randrange(10**12), rng.random()) for _ in range(20_000))
    text = "".join(page.replace("host", f"host{n}") for n in range(size // len(page) + 1))
    return text[:size]


def call(number: int, prompt: str) -> Iterator[Event]:
    yield CallStarted(**WHO, call=number, turn=0, kind="llm", model="m", prompt=prompt)
    yield CallFinished(**WHO, call=number, reply=REPLY, error=None, usage=Usage(calls=1), seconds=1.0)


def turn(number: int, shown: str) -> Iterator[Event]:
    yield TurnFinished(**WHO, turn=number, shown=shown, seconds=1.0)
    yield ReplyReceived(**WHO, turn=number + 1, reply=REPLY, seconds=1.0)


def started(context: str) -> Event:
    return RunStarted(
        **WHO, model="m", question="Q?", context_type="str", context_size=len(context), environment="local"
    )


def texts(context: str) -> dict[str, list[str]]:
    rng = random.Random(1)
    anywhere = [rng.randrange(len(context) - PROMPT) for _ in range(400)]
    lines = context[:2_000_000].splitlines()
    numbered = ["\n".join(f"{n}: {rng.choice(lines)}" for n in range(150)) for _ in range(20)]
    other = ["".join(rng.choices("abcdefghij klm\n", k=PROMPT)) for _ in range(10)]
    return {
        "prompt, slices in order": [context[at : at + PROMPT] for at in range(0, len(context) - PROMPT, PROMPT)][:400],
        "prompt, slices at random": [context[at : at + PROMPT] for at in anywhere],
        "prompt of ten slices": ["\n==\n".join(context[a : a + 5_000] for a in anywhere[n:][:10]) for n in range(50)],
        "prompt of other log lines": [log_lines(PROMPT, 100 + n) for n in range(10)],
        "prompt of other text": other,
        "output, a slice": [context[at : at + OUTPUT] for at in anywhere],
        "output of 150 numbered lines": numbered,
        "output of other text": [text[:OUTPUT] for text in other],
    }


def written(context: str, kind: str, sample: Sequence[str], folder: str) -> float:
    """Milliseconds a text, the index not counted."""
    events = [turn(n, t) if kind.startswith("output") else call(n, t) for n, t in enumerate(sample)]
    with TrajectoryWriter(Path(folder, f"{kind}.jsonl"), context=context) as writer:
        for event in (started(context), *turn(0, context[:100])):
            writer(event)
        begun = time.process_time()
        for event in itertools.chain(*events):
            writer(event)
        return (time.process_time() - begun) * 1_000 / len(sample)


def index(context: str, folder: str) -> float:
    begun = time.process_time()
    with TrajectoryWriter(Path(folder, "index.jsonl"), context=context) as writer:
        for event in (started(context), *turn(0, context[:100])):
            writer(event)
    return (time.process_time() - begun) * 1_000


def asked(context: str, kinds: dict[str, list[str]]) -> float:
    """`result.coverage` of a run of thirty turns and four hundred calls."""
    shown = kinds["output of 150 numbered lines"] + kinds["output, a slice"][:10]
    events = [started(context)]
    events += itertools.chain(*(turn(n, text) for n, text in enumerate(shown)))
    events += itertools.chain(*(call(n, text) for n, text in enumerate(kinds["prompt, slices at random"])))
    result = Completion(
        root_model="m",
        prompt=context,
        response="",
        value="",
        status="answered",
        usage_summary=UsageSummary(),
        execution_time=0.0,
        trajectory=tuple(events),
    )
    begun = time.process_time()
    assert result.coverage is not None
    return (time.process_time() - begun) * 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    rows: dict[str, list[float]] = {}
    for size in SIZES:
        context = log_lines(size, 7)
        kinds = texts(context)
        with tempfile.TemporaryDirectory() as folder:
            for n in range(repeat):
                here = Path(folder, str(n))
                here.mkdir()
                found = {"the index, once": index(context, str(here))}
                found |= {kind: written(context, kind, sample, str(here)) for kind, sample in kinds.items()}
                found["`result.coverage`, 30 turns and 400 calls"] = asked(context, kinds)
                for name, took in found.items():
                    row = rows.setdefault(name, [])
                    if n == 0:
                        row.append(took)
                    row[-1] = min(row[-1], took)
    print(f"| | {' | '.join(f'{size // 1_000_000} MB' for size in SIZES)} |")
    print(f"|---|{'---|' * len(SIZES)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{took:.3g} ms' for took in row)} |")


if __name__ == "__main__":
    main()
