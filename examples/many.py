"""One question about each of many documents, a few at a time. One `RLM` serves any number of completions at once.

python examples/many.py "Who is responsible for what?" minutes/*.txt
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rlm import RLM, RLMError


async def main(question: str, documents: dict[str, str], at_once: int = 8) -> None:
    turn = asyncio.Semaphore(at_once)
    async with RLM(model="openai/gpt-5-mini", environment="process", max_timeout=300) as rlm:

        async def answer(name: str, text: str) -> str:
            async with turn:
                try:
                    result = await rlm.acompletion(text, question)
                except RLMError as error:
                    return f"{name}: failed: {error} (so far: {error.partial_answer})"
                return f"{name}: {result.response}"

        for finished in asyncio.as_completed([answer(*document) for document in documents.items()]):
            print(await finished)


if __name__ == "__main__":
    texts = {name: Path(name).read_text(errors="surrogateescape") for name in sys.argv[2:]}
    asyncio.run(main(sys.argv[1], texts))
