"""What stands on the screen at one moment, as plain values: taken while events wait, drawn while they go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rlm.live import figures
from rlm.live.agent import Agent
from rlm.live.figures import Figures, Past
from rlm.live.fold import Run
from rlm.live.words import plural

SHOWN_AFTER_END: Final = 1.5
"""Seconds for which an agent that ended stays in the tree."""
DEPTHS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An agent. `tree` is what joins it to its parent, `state` in words, `calls` its own."""

    tree: str
    name: str
    state: str
    ended: bool
    failed: bool
    turn: str
    seconds: float
    calls: str
    low: str
    """Of which limits of its own little is left, where several runs have each their own."""
    doing: str = field(repr=False)
    """The last line of what it writes or prints, or the first of its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """The agent whose code and output are shown. `progress` is entries that ended and entries of its batched calls."""

    name: str
    code: str = field(repr=False)
    tail: str = field(repr=False)
    progress: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """`more` tells of the agents for which `lines` had no room; `left` of limits, and whether little is."""

    lines: tuple[Line, ...]
    more: tuple[str, ...]
    focus: Focus
    agents: Figures
    calls: Figures
    failures: tuple[str, ...]
    used: tuple[str, ...]
    left: tuple[tuple[str, bool], ...]


def look(runs: Sequence[Run], now: float, rows: int, past: Past | None = None) -> Picture:
    """The picture of runs that go on, the oldest first, with at most `rows` agents; others with them are `past`."""
    past = past or Past()
    several = len(runs) + past.runs > 1
    chosen, hidden = _choose(runs, now, rows)
    focus_run = runs[0]
    focus = _focus(focus_run.root)
    spent = sum((run.spent for run in runs), past.spent)
    lines = [line for run in runs for line in _lines(run, run.root, chosen, now, "", "", several)]
    return Picture(
        lines=tuple(lines),
        more=tuple(_more(hidden)),
        focus=Focus(
            name=_name(focus_run, focus, several) if several or len(focus_run.agents) > 1 else "",
            code=focus.code if focus.state == "running code" else "",
            tail=focus.tail,
            progress=(0, 0) if several else _progress(focus),
        ),
        agents=figures.agents(runs, past),
        calls=figures.calls(runs, past, spent),
        failures=figures.failures(runs) if several else focus_run.failures.lines(),
        used=tuple(figures.used(runs, past, spent, now)),
        left=() if several else tuple(figures.left(focus_run, now)),
    )


def _choose(runs: Sequence[Run], now: float, rows: int) -> tuple[set[Agent], dict[int, Counter[str]]]:
    """The agents that get a line, level by level, and the states of those that do not, by depth."""
    chosen: set[Agent] = set()
    hidden: dict[int, Counter[str]] = {}
    level = [run.root for run in runs]
    recent = [agent for run in runs for time, agent in run.recent if now - time < SHOWN_AFTER_END]
    while level:
        room = max(0, rows - len(chosen))
        chosen.update(level[:room])
        for agent in level[room:]:
            hidden.setdefault(agent.depth, Counter())[_state(agent)] += 1
        level = [child for agent in level for child in agent.children.values()]
    if not hidden:
        chosen.update(recent[: max(0, rows - len(chosen))])
    return chosen, hidden


def _lines(
    run: Run, agent: Agent, chosen: set[Agent], now: float, here: str, below: str, several: bool
) -> Iterable[Line]:
    if agent not in chosen:
        return
    ended = agent.state in ("done", "failed")
    yield Line(
        tree=here,
        name=_name(run, agent, several),
        state=_state(agent),
        ended=ended,
        failed=agent.state == "failed",
        turn=_turn(run, agent),
        seconds=now - agent.since,
        calls=_own_calls(agent),
        low=_low(run, now) if several and agent is run.root else "",
        doing=_doing(agent),
    )
    children = [child for child in (*agent.children.values(), *_ended_below(run, agent)) if child in chosen]
    children.sort(key=lambda child: child.born)
    for child in children:
        last = child is children[-1]
        yield from _lines(
            run, child, chosen, now, below + ("└ " if last else "├ "), below + ("  " if last else "│ "), several
        )


def _ended_below(run: Run, agent: Agent) -> Iterable[Agent]:
    return (child for _, child in run.recent if child.path.rpartition("/")[0] == agent.path)


def _focus(agent: Agent) -> Agent:
    """Where it is worth looking: below an agent that waits for RLMs, at the oldest, sooner at one that has its own;
    above one that has nothing to show yet, at the next that has."""
    focus = agent
    while agent.children:
        children = agent.children.values()
        agent = next((child for child in children if child.children), next(iter(children)))
        if agent.tail or agent.state == "running code":
            focus = agent
    return focus


def _name(run: Run, agent: Agent, several: bool) -> str:
    return agent.path if several else run.name(agent)


def _state(agent: Agent) -> str:
    if agent.state == "running code" and agent.calls.open:
        return f"waiting for {plural(agent.calls.open, 'call')}"
    return agent.state


def _turn(run: Run, agent: Agent) -> str:
    most = run.limits.get("max_iterations")
    return f"turn {agent.turn}" + (f"/{most}" if most is not None else "") if agent.turn else ""


def _own_calls(agent: Agent) -> str:
    calls = agent.calls
    parts = [f"{count:,} {how}" for count, how in ((calls.done, "done"), (calls.failed, "failed")) if count]
    return ", ".join(parts)


def _low(run: Run, now: float) -> str:
    return ", ".join(f"{left} left" for left, low in figures.left(run, now) if low)


def _doing(agent: Agent) -> str:
    lines = [line for line in agent.tail[-300:].splitlines() if line.strip()]
    if lines:
        return lines[-1].strip()
    return agent.code[:200].strip().partition("\n")[0] if agent.state == "running code" else ""


def _more(hidden: Mapping[int, Counter[str]]) -> Iterable[str]:
    """The agents without a line, by depth; the deepest together."""
    depths = sorted(hidden)
    for number, depth in enumerate(depths[:DEPTHS]):
        last = number == DEPTHS - 1 and len(depths) > DEPTHS
        words = Counter[str]()
        for each in depths[number:] if last else [depth]:
            for state, count in hidden[each].items():
                words["waiting for calls" if state.startswith("waiting") else state] += count
        where = f"depth {depth} and below" if last else f"depth {depth}"
        states = " · ".join(f"{count:,} {state}" for state, count in words.most_common())
        yield f"… {words.total():,} more at {where}: {states}"


def _progress(agent: Agent) -> tuple[int, int]:
    batches = agent.batches.values()
    return sum(ended for ended, _ in batches), sum(size for _, size in batches)
