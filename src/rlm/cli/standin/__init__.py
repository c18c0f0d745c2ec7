"""The stand-in that plays the model's part in `rlm demo`: no model, but a function of the messages it is sent.

As the root it writes the code in the `.md` files beside this one, as a model would after reading the question and the
output of the turn before. As a sub-model it reads the notices in its prompt with a few rules and knows nothing else.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from rlm.types import Message, ModelInfo, Reply, Usage

QUESTION = (
    "Count the deprecation notices in the source code of this library, outside its tests. "
    "In which Python version does each say that the thing will be removed, and which modules have them?"
)
TURNS = ("look.md", "judge.md", "answer.md")
NOTICE = re.compile(r"^\[(\d+)\] ", re.MULTILINE)
REMOVE = re.compile(r"\bremove\s*=\s*\((\d+),\s*(\d+)\)")
REMOVED_IN = re.compile(r"\bremov(?:ed|al)\b[^.]{0,60}?\bin (?:python |version )?(\d+\.\d+)", re.IGNORECASE)
CHARACTERS_PER_TOKEN = 4


class StandIn:
    """A `Client`. `pace` stretches the time it takes, 0 is at once."""

    model = "stand-in"

    def __init__(self, pace: float = 1.0) -> None:
        self.pace = pace

    def info(self, model: str | None = None) -> ModelInfo:
        return ModelInfo(context_window=128_000)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        model: str | None = None,
        on_text: Callable[[str], None] | None = None,
        **sampling: Any,
    ) -> Reply:
        if any(message.role == "system" for message in messages):
            text = root_turn(messages)
            await self.type(text, on_text)
        else:
            text = read_notices(messages[-1].content)
            # As models do, each call takes its own time: 0.4 to 1.6 seconds.
            await asyncio.sleep(
                self.pace * (0.4 + zlib.crc32(messages[-1].content.encode("utf-8", "replace")) % 120 / 100)
            )
        size = sum(len(message.content) for message in messages)
        usage = Usage(
            calls=1,
            attempts=1,
            input_tokens=size // CHARACTERS_PER_TOKEN,
            output_tokens=len(text) // CHARACTERS_PER_TOKEN,
        )
        return Reply(text=text, model=self.model, usage=usage)

    async def type(self, text: str, on_text: Callable[[str], None] | None) -> None:
        for piece in re.findall(r".{1,24}", text, re.DOTALL):
            await asyncio.sleep(self.pace * 0.03)
            if on_text is not None:
                on_text(piece)

    async def aclose(self) -> None:
        """Nothing is open."""


def root_turn(messages: Sequence[Message]) -> str:
    turn = sum(message.role == "assistant" for message in messages)
    name = TURNS[min(turn, len(TURNS) - 1)]
    return resources.files(__name__).joinpath(name).read_text("utf-8")


def read_notices(prompt: str) -> str:
    """One line per notice in the prompt: its number and the version that removes the thing."""
    marks = list(NOTICE.finditer(prompt))
    ends = [mark.start() for mark in marks[1:]] + [len(prompt)]
    return "\n".join(f"{mark[1]}: {removal(prompt[mark.end() : end])}" for mark, end in zip(marks, ends, strict=True))


def removal(notice: str) -> str:
    if remove := REMOVE.search(notice):
        return f"{remove[1]}.{remove[2]}"
    # Adjacent literals are one sentence.
    prose = " ".join(re.sub(r"""["']\s*\+?\s*[frbu]{0,2}["']""", "", notice).split())
    removed = REMOVED_IN.search(prose)
    return removed[1] if removed else "none"
