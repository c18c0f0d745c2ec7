"""The picture of docs/howto/many-runs.md: `python tools/plots.py` makes 240 runs over a scripted model and draws them.

The runs are real ones of the engine, in two habits of working; only the model's words, prices and latency are made up.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rlm import RLM, Message, Price, RLMError, RLMLogger
from rlm.cli.stats.measure import places
from rlm.cli.stats.panels import Drawn
from rlm.cli.stats.plots import overview, style
from rlm.cli.stats.report import read
from rlm.errors import LMError
from rlm.protocols import Client
from rlm.testing import ScriptedClient

ROOT = Path(__file__).resolve().parent.parent
IMAGE = ROOT / "docs" / "images" / "stats.png"
DOTS = 110
"""Per inch: less than `rlm stats` draws, for a page."""
RUNS = 120
AT_ONCE = 40
PAGE = "The pump ran hot again; somebody had closed the valve behind it, and wrote so in the book of the shift. "
QUESTION = "What made the pump run hot?"

LOOK = "```repl\nprint(len(context), context[:200])\n```"
FLAT = """```repl
size = -(-len(context) // {parts})
pieces = [context[at : at + size] for at in range(0, len(context), size)]
notes = llm_query_batched(["What is said here? " + piece for piece in pieces])
```"""
DEEP = """```repl
size = -(-len(context) // {parts})
pieces = [context[at : at + size] for at in range(0, len(context), size)]
notes = rlm_query_batched(["What is said here?"] * len(pieces), contexts=pieces)
```"""
END = '```repl\nFINAL(str(notes[0]) if "notes" in globals() else "a closed valve")\n```'


def habit(deep: bool, rng: random.Random) -> ScriptedClient:
    """A model that looks for a few turns, then asks about parts of the input; some lose their way or their provider."""
    looks, parts = rng.choice((1, 1, 2, 2, 3, 5, 9)), int(rng.lognormvariate(2.2 if deep else 2.8, 0.8)) + 1
    fate = rng.random()
    pace = rng.lognormvariate(-3.2, 0.6)

    def answer(messages: Sequence[Message]) -> object:
        turn = sum(message.role == "assistant" for message in messages)
        if not any(message.role == "system" for message in messages):
            return "a closed valve" * rng.randint(1, 40)
        if "What is said here?" in messages[1].content:
            return "```repl\nFINAL(llm_query('What is said here? ' + str(context)[:20_000]))\n```"
        if fate < 0.05 and turn == looks:
            return LMError("the service is overloaded", kind="server")
        if turn < looks or fate > 0.93:
            return LOOK
        return (DEEP if deep else FLAT).format(parts=parts) if turn == looks else END

    async def latency() -> None:
        await asyncio.sleep(rng.expovariate(1 / pace))

    price = None if rng.random() < 0.06 else Price(input=1.25, output=10.0) if deep else Price(input=0.25, output=2.0)
    return ScriptedClient(answer, model="large-1" if deep else "small-1", price=price, latency=latency)  # type: ignore[arg-type]


async def runs(folder: Path, deep: bool) -> None:
    rng = random.Random(7 + deep)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> None:
        own = random.Random(seed)
        client: Client = habit(deep, own)
        text = PAGE * int(own.lognormvariate(6.5, 1.0))
        rlm = RLM(
            backend=client,
            environment="local",
            max_depth=2,
            max_iterations=12,
            logger=RLMLogger(log_dir=str(folder)),
        )
        async with places:
            with suppress(RLMError):  # its log says so
                await rlm.acompletion(text, QUESTION)

    await asyncio.gather(*(one(rng.getrandbits(32)) for _ in range(RUNS)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        folders = [Path(made) / name for name in ("flat", "recursive")]
        for folder, deep in zip(folders, (False, True), strict=True):
            asyncio.run(runs(folder, deep))
        measured = read(places(folders))
    with style():
        overview(Drawn(measured)).savefig(IMAGE, dpi=DOTS, metadata={"Software": None})
    print(IMAGE)
