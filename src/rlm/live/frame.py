"""The live part, drawn: at most so many lines, whatever goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from rlm.live.figures import Tone
from rlm.live.picture import Line, Picture
from rlm.live.style import code, failures, line, safe
from rlm.live.words import span

SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BAR: Final = 40
SECONDS: Final = 5
SHORTEST: Final = 20
STYLES: Final[Mapping[Tone, str]] = {"done": "green", "open": "cyan", "failed": "red", "note": "dim"}


def most_agents(height: int) -> int:
    """Agents that get a line on a screen of that height."""
    return max(1, frame_height(height) // 2)


def frame_height(height: int) -> int:
    """Lines of the live part: some of the record stays in sight above it."""
    return max(1, min(height - 2, max(10, height * 2 // 3)))


def frame(picture: Picture, *, width: int, height: int, tick: int) -> list[Text]:
    """The live part, of at most `frame_height(height)` lines, none wider than `width`."""
    room = frame_height(height)
    agents = list(_agents(picture.lines, width, tick)) + [line(f"  {more}", "dim") for more in picture.more]
    figures = list(_figures(picture, width))
    agents = agents[: max(1, room - 1)]
    figures = figures[-max(0, room - len(agents)) :] if room > len(agents) else []
    return [*agents, *_doing(picture, room - len(agents) - len(figures)), *figures]


def _agents(lines: Sequence[Line], width: int, tick: int) -> Iterator[Text]:
    alone = len(lines) == 1
    names = max((cell_len(agent.tree) + cell_len(safe(agent.name)) for agent in lines), default=0)
    states = max((len(agent.state) for agent in lines), default=0)
    turns = max((len(agent.turn) for agent in lines), default=0)
    calls = max((len(agent.calls) for agent in lines), default=0)
    for agent in lines:
        mark, style = SPINNER[tick % len(SPINNER)], "bold green"
        if agent.ended:
            mark, style = ("✗", "bold red") if agent.failed else ("✓", "green")
        text = Text(no_wrap=True, overflow="ellipsis").append(agent.tree, "dim").append(f"{mark} ", style)
        if not agent.ended:
            style = "cyan" if agent.state.startswith("waiting") else "green"
        seconds = "" if agent.ended else span(agent.seconds)
        if alone:
            text.append(agent.state, style)
            yield text.append("".join(f" · {words}" for words in (agent.turn, seconds) if words))
            continue
        text.append(safe(agent.name).ljust(names - cell_len(agent.tree) + 2)).append(f"{agent.state:<{states}}", style)
        columns = ((agent.turn, turns), (seconds, SECONDS), (agent.calls, calls))
        text.append("".join(f"  {words:<{size}}" for words, size in columns if size))
        text.append(f"  {agent.low}" if agent.low else "", "yellow")
        yield text.append(f"  {safe(agent.doing)}" if width - text.cell_len > SHORTEST else "", "dim")


def _doing(picture: Picture, room: int) -> Iterator[Text]:
    """The code and the end of the output of what is in focus."""
    focus = picture.focus
    source = focus.code.strip("\n")
    tail = [each for each in safe(focus.tail).splitlines() if each.strip()]
    if focus.name and room > 2 and (source or tail):
        yield line(f"  in {focus.name}:", "dim")
        room -= 1
    elif focus.name or room <= 0:
        return
    for_tail = min(len(tail), max(1, room // 3) if source else room)
    if source and room - for_tail >= (2 if "\n" in source else 1):  # not only how many lines there are
        yield from code(source, room - for_tail)
    yield from (line(f"  │ {each}", "dim") for each in tail[len(tail) - for_tail :])


def _figures(picture: Picture, width: int) -> Iterator[Text]:
    ended, size = picture.focus.progress
    if size > 1:
        yield _bar(ended, size, min(BAR, width - 30))
    if picture.agents:
        yield _row("RLMs", ((words, STYLES[tone]) for words, tone in picture.agents))
    if picture.calls:
        yield _row("sub-calls", ((words, STYLES[tone]) for words, tone in picture.calls))
    yield from failures(picture.failures)
    yield _row("used", ((words, "") for words in picture.used))
    if picture.left:
        yield _row("left", ((words, "yellow" if low else "") for words, low in picture.left))


def _row(name: str, parts: Iterable[tuple[str, str]]) -> Text:
    text = Text(f"  {name:<9}  ", no_wrap=True, overflow="ellipsis")
    for number, (words, style) in enumerate(parts):
        text.append(" · " if number else "", "dim").append(words, style)
    return text


def _bar(ended: int, size: int, width: int) -> Text:
    filled = width * ended // size
    text = Text("  ", no_wrap=True, overflow="ellipsis")
    text.append("━" * filled, "cyan").append("━" * (width - filled), "dim")
    return text.append(f"  {ended:,} of {size:,}")
