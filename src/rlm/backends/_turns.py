"""A conversation for APIs that keep the system prompt apart and want the two roles to alternate."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.types import Message, Role


def split_system(messages: Sequence[Message]) -> tuple[str, list[tuple[Role, list[str]]]]:
    """(system text, turns of one role). A system message that comes later, or is all there is, counts as a user's."""
    lead = 0
    while lead < len(messages) - 1 and messages[lead].role == "system":
        lead += 1
    turns: list[tuple[Role, list[str]]] = []
    for message in messages[lead:]:
        role: Role = "user" if message.role == "system" else message.role
        # Blank text is refused; nothing is lost by leaving it out.
        if not message.content.strip():
            continue
        if turns and turns[-1][0] == role:
            turns[-1][1].append(message.content)
        else:
            turns.append((role, [message.content]))
    return "\n\n".join(m.content for m in messages[:lead] if m.content.strip()), turns
