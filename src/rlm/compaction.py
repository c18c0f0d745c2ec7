"""The root's history, kept within its model's window: a summary takes the place of the turns, which stay in the REPL.

The system prompt and the first message are kept byte for byte, so that a provider's prompt cache still hits. What was
computed is in the REPL's variables, exactly; the summary only has to say what they are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlm.policy.prompt import text_of
from rlm.policy.showing import shorten
from rlm.types import Message

# Shares of the window: what the request for a summary may take, whatever is in the opening at least the turns in it,
# the summary that is asked for, the most of one that is kept, and the list of variables.
REQUEST, TURNS, ASKED, SUMMARY, VARIABLES = 0.5, 0.1, 0.1, 0.2, 0.1
LEAST = 500  # characters of a message that is worth sending


class History:
    """What the root model is sent: the opening, then turns, append-only between compactions. `window` is in characters
    everywhere."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._whole: list[Message] = []
        self._opening = 0
        self._kept = 0
        """The opening and, after a compaction, the summary."""

    def open(self, messages: Sequence[Message]) -> None:
        self.say(*messages)
        self._opening = self._kept = len(self.messages)

    def say(self, *messages: Message) -> None:
        self.messages += messages
        self._whole += messages

    def due(self, window: int, share: float) -> bool:
        """Whether it takes more than that share of the window, and there are turns to summarise."""
        return len(self.messages) > self._kept and _size(self.messages) > window * share

    def request(self, window: int) -> list[Message]:
        """The messages that ask for a summary: the opening, the last summary, and the latest turns, as many as surely
        fit."""
        room = max(int(window * REQUEST) - _size(self.messages[: self._kept]), int(window * TURNS))
        latest = self.latest(room)
        gone = len(self.messages) - len(latest)
        note = f" ({gone} earlier messages are left out here)" if gone else ""
        text = text_of("compact.md").replace("<<NOTE>>", note).replace("<<MOST>>", f"{int(window * ASKED):,}")
        return [*latest, Message("user", text)]

    def latest(self, room: int) -> list[Message]:
        """The opening, the last summary, and in so many characters the latest turns; of the first of these its ends."""
        recent: list[Message] = []
        for message in reversed(self.messages[self._kept :]):
            if len(message.content) > room and room < LEAST and recent:
                break
            recent.insert(0, Message(message.role, shorten(message.content, room, "left out here")))
            room -= len(recent[0].content)
        return [*self.messages[: self._kept], *recent]

    def shorter(self) -> Iterator[list[Message]]:
        """All of it, then less and less of its turns."""
        yield self.messages
        size = _size(self.messages[self._kept :])
        while size > LEAST:
            size //= 2
            yield self.latest(size)

    def compact(self, summary: str, variables: str, window: int) -> None:
        """Put a summary and the list of variables in the turns' place."""
        summary = shorten(summary.strip(), int(window * SUMMARY), "of this summary were left out")
        variables = shorten(variables, int(window * VARIABLES), "left out; SHOW_VARS() lists them all")
        text = text_of("compacted.md").replace("<<VARIABLES>>", variables).replace("<<SUMMARY>>", summary)
        self.messages = [*self.messages[: self._opening], Message("user", text)]
        self._kept = len(self.messages)

    def as_data(self) -> list[dict[str, str]]:
        """All that was ever said, as the REPL's `history` holds it."""
        return [{"role": message.role, "content": message.content} for message in self._whole]


def _size(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)
