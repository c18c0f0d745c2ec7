"""What is in each figure. Each takes a figure, or a part of one, and draws into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rlm.cli.stats.measure import Measured, by_group, labelled, most_used, percentile, values
from rlm.cli.stats.scales import CALLS, COST, TIME, TURNS, Quantity, count, money, name, scale

Place = Figure | SubFigure

# Okabe and Ito's colours: told apart by colour-blind readers, and with the lines' dashes also in black and white.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: Final = ("-", (0, (5, 1.5)), (0, (1.2, 1)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), "-")
STATUSES: Final = {
    "answered": ("#0072B2", "o"),
    "forced": ("#E69F00", "^"),
    "failed": ("#D55E00", "X"),
    "running": ("0.55", "s"),
}
MOST_MODELS: Final = 10
QUIET: Final = "0.35"
NEUTRAL: Final = "#5B7083"
DAY: Final = 86_400
EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC).timestamp() / DAY
LATEST: Final = datetime(9998, 12, 31, tzinfo=UTC).timestamp() / DAY


@dataclass(frozen=True)
class Group:
    """Runs that are drawn alike."""

    label: str
    runs: list[Measured]
    colour: str
    dashes: Any


class Drawn:
    """The runs, in groups that look the same in every figure."""

    def __init__(self, runs: Sequence[Measured]) -> None:
        self.runs = runs
        named = [(name(label), members) for label, members in labelled(by_group(runs)).items()]
        most = len(COLOURS)
        if len(named) > most:
            others = [run for _, members in named[most - 1 :] for run in members]
            named = [*named[: most - 1], (f"{len(named) - most + 1:,} others", others)]
        self.groups = [
            Group(*each, *look) for each, look in zip(named, zip(COLOURS, DASHES, strict=True), strict=False)
        ]

    @property
    def several(self) -> bool:
        return len(self.groups) > 1


def distributions(figure: Place, drawn: Drawn) -> None:
    """For each value, the share of runs that took no more."""
    grid = figure.subplots(2, 2, sharey=True)
    for axes, quantity in zip(grid.flat, (COST, TIME, TURNS, CALLS), strict=True):
        known = values(drawn.runs, quantity.of)
        axes.set_title(quantity.title)
        axes.set_xlabel(quantity.words)
        axes.set_ylim(0, 1.04)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 0.9, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        note_unknown(axes, len(drawn.runs) - len(known), len(drawn.runs))
        scale(axes, "x", quantity, known)
        for group in drawn.groups:
            curve(axes, quantity, group, told=not drawn.several)
    for axes in grid[:, 0]:
        axes.set_ylabel("share of runs")
    if drawn.several:
        legend(figure, [Line2D([], [], color=g.colour, ls=g.dashes, label=g.label) for g in drawn.groups])


def curve(axes: Axes, quantity: Quantity, group: Group, *, told: bool) -> None:
    known = values(group.runs, quantity.of)
    if not known:
        return
    axes.ecdf(known, color=group.colour, linestyle=group.dashes, linewidth=1.5)
    for p in (50, 90):
        at = percentile(known, p)
        axes.plot([at], [p / 100], "o", color=group.colour, markersize=4, clip_on=False)
        if told:
            text = f"p{p}  {quantity.form(at)}"
            right = axes.transAxes.inverted().transform(axes.transData.transform((at, 0)))[0] > 0.7
            place: Any = {"xytext": (-6, 5) if right else (7, -4), "ha": "right" if right else "left"}
            axes.annotate(text, (at, p / 100), textcoords="offset points", color="0.15", fontsize="small", **place)


def note_unknown(axes: Axes, unknown: int, of: int) -> None:
    if unknown:
        words = "unknown for every run" if unknown == of else f"{unknown:,} of {of:,} unknown, not drawn"
        axes.set_title(words, loc="right", fontsize="small", fontweight="normal", fontstyle="italic", color=QUIET)


def spending(figure: Place, drawn: Drawn) -> None:
    """Cost against time, a mark for each way to end."""
    runs = [run for run in drawn.runs if run.seconds is not None]
    (main,), strip = with_strip(figure, runs)
    main.set_title("Cost against time")
    scale(main, "x", TIME, values(runs, TIME.of))
    for group in drawn.groups:
        marks(main, strip, [(run, run.seconds) for run in group.runs], group.colour if drawn.several else None)
    (strip or main).set_xlabel(TIME.words)
    key(figure, drawn)


def with_strip(figure: Place, runs: Sequence[Measured], *above: int) -> tuple[list[Axes], Axes | None]:
    """Axes of the heights given and one for cost; below, a strip for the runs whose cost is not known, if there are."""
    unknown = any(run.dollars is None for run in runs)
    heights = [*above, 9, 1.4] if unknown else [*above, 9]
    column = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0].tolist()
    cost = column[len(above)]
    scale(cost, "y", COST, values(runs, COST.of))
    cost.set_ylabel(COST.words)
    if not unknown:
        return column, None
    strip = column.pop()
    strip.set_ylim(-1, 1)
    strip.set_yticks([0], ["unknown"])
    strip.grid(visible=False)
    return column, strip


def marks(main: Axes, strip: Axes | None, places: Sequence[tuple[Measured, Any]], colour: str | None) -> None:
    """A mark for each run: at its cost, or in the strip."""
    size = 22 if len(places) < 300 else 12 if len(places) < 3_000 else 6
    for status, (own, mark) in STATUSES.items():
        found = [(x, run.dollars) for run, x in places if run.status == status and x is not None]
        look: dict[str, Any] = {"marker": mark, "s": size, "color": colour or own, "alpha": 0.6, "linewidths": 0}
        known = [(x, cost) for x, cost in found if cost is not None]
        if known:
            main.scatter(*zip(*known, strict=True), zorder=3, **look)
        unknown = [x for x, cost in found if cost is None]
        if unknown and strip is not None:
            strip.scatter(unknown, [0.0] * len(unknown), **look)


def models(figure: Place, drawn: Drawn) -> None:
    """Dollars and tokens by model: what is known, and in words what is not."""
    uses = most_used(drawn.runs, MOST_MODELS)[::-1]
    grid = figure.subplots(1, 3, sharey=True)
    rows = range(len(uses))
    spare = max(0.0, 4 - len(uses)) / 2  # two bars are not to be as broad as they are long
    metered = [use.usage.unmetered < use.usage.calls or not use.usage.calls for use in uses]
    bars: list[tuple[str, list[float | None], list[int], Any]] = [
        ("Cost by model", [use.dollars for use in uses], [use.usage.unpriced for use in uses], money),
        *(
            (
                title,
                [getattr(use.usage, field) if known else None for use, known in zip(uses, metered, strict=True)],
                [use.usage.unmetered for use in uses],
                count,
            )
            for title, field in (("Input tokens", "input_tokens"), ("Output tokens", "output_tokens"))
        ),
    ]
    for axes, (title, lengths, missing, form) in zip(grid, bars, strict=True):
        axes.set_title(title)
        axes.barh(rows, [length or 0 for length in lengths], height=0.6, color=NEUTRAL)
        axes.set_ylim(-0.6 - spare, len(uses) - 0.4 + spare)
        for place, length, part in zip(rows, lengths, missing, strict=True):
            words = "unknown" if length is None else form(length) + (" + unknown" if part else "")
            look: Any = {"fontstyle": "italic", "color": QUIET} if length is None else {"color": "0.15"}
            axes.annotate(
                words, (length or 0, place), (3, 0), textcoords="offset points", va="center", fontsize="small", **look
            )
        axes.set_xlim(0, 1.45 * max([length or 0 for length in lengths], default=0) or 1)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter(lambda value, _, form=form: form(value))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(rows, [name(use.model) for use in uses])


def over_time(figure: Place, drawn: Drawn) -> None:
    """How many runs began when, and what each cost."""
    runs = [run for run in drawn.runs if run.began is not None]
    (top, main), strip = with_strip(figure, runs, 6)
    last = strip or main
    top.set_title("Runs over time")
    top.set_ylabel("runs begun")
    top.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    last.set_xlabel("begun (UTC)")
    if not runs:
        return
    begun = [day(run) for run in runs]
    margin = max(0.02 * (max(begun) - min(begun)), 1 / DAY)
    limits = max(min(begun) - margin, EARLIEST - 1), min(max(begun) + margin, LATEST + 1)
    if drawn.several:
        parts = [(group.colour, group.runs) for group in drawn.groups]
    else:
        parts = [(colour, [r for r in runs if r.status == status]) for status, (colour, _) in STATUSES.items()]
    stacks = [[day(run) for run in part if run.began is not None] for _, part in parts]
    top.hist(stacks, bins=40, range=limits, stacked=True, color=[colour for colour, _ in parts], rwidth=0.9)
    for group in drawn.groups:
        places = [(run, day(run)) for run in group.runs if run.began is not None]
        marks(main, strip, places, group.colour if drawn.several else None)
    last.set_xlim(*limits)
    last.xaxis_date("UTC")
    key(figure, drawn)


def day(run: Measured) -> float:
    """As matplotlib counts them, from 1970; its ticks go beyond what is drawn, so there must be dates beyond."""
    assert run.began is not None
    return min(max(run.began.timestamp() / DAY, EARLIEST), LATEST)


def key(figure: Place, drawn: Drawn) -> None:
    """What the marks and the colours stand for."""
    endings = [
        Line2D([], [], ls="", marker=mark, color=QUIET if drawn.several else colour, label=f"{status} ({number:,})")
        for status, (colour, mark) in STATUSES.items()
        if (number := sum(run.status == status for run in drawn.runs))
    ]
    groups = [Line2D([], [], ls="", marker="s", color=g.colour, label=g.label) for g in drawn.groups]
    legend(figure, endings + (groups if drawn.several else []))


def legend(figure: Place, handles: Sequence[Line2D]) -> None:
    columns = len(handles) if len(handles) < 6 else 4
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, fontsize="small", columnspacing=1.2)
