"""Follow a run through its events: each turn, what it printed, and what it cost so far.

python examples/watch.py "Which functions have no docstring?" src/rlm/api.py
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rlm import RLM, Usage
from rlm.events import CallFinished, CellFinished, ReplyReceived, RunFinished


async def main(question: str, text: str) -> None:
    spent = Usage()
    async with RLM(model="openai/gpt-5-mini", environment="process") as rlm:
        async for event in rlm.stream(text, question):
            match event:
                case ReplyReceived(reply=reply):
                    spent += reply.usage
                case CallFinished(usage=usage):
                    spent += usage
                case CellFinished(turn=turn, cell=cell):
                    print(f"[turn {turn}, {spent.total_tokens:,} tokens]\n{cell.output}")
                case RunFinished(response=response):
                    print(response)


if __name__ == "__main__":
    question, path, *_ = sys.argv[1:]
    asyncio.run(main(question, Path(path).read_text(errors="surrogateescape")))
