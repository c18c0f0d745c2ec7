"""Axes and words of the figures: which scale a quantity gets, its ticks, and names as text that any font can draw."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Final

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from rlm.cli.stats.measure import Measured
from rlm.cli.stats.tables import shortened
from rlm.logger import printable

SPREAD: Final = 30
"""How many times the smallest value the greatest may be on a linear axis."""
DECADES: Final = 1e12
"""What is smaller than the greatest by more is as good as zero."""
LONGEST_NAME: Final = 34
TIMES: Final = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 36_000, 86_400, 864_000, 8_640_000)
UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))


def money(value: float) -> str:
    if value == 0:
        return "$0"
    if abs(value) >= 1_000:
        return f"${count(value)}"
    return f"${value:,.2f}" if abs(value) >= 0.0995 else f"${value:.2g}"


def duration(value: float) -> str:
    size, unit = next((u for u in UNITS if abs(value) >= u[0] * 0.9995), UNITS[-1])
    return "0 s" if value == 0 else f"{value / size:.3g} {unit}"


def count(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class Quantity:
    """Something that every run has a number of, or does not know."""

    title: str
    words: str
    of: Callable[[Measured], float | None]
    form: Callable[[float], str]


COST: Final = Quantity("Cost", "US dollars per run", lambda run: run.dollars, money)
TIME: Final = Quantity("Time", "time per run", lambda run: run.seconds, duration)
TURNS: Final = Quantity("Turns", "turns of the root per run", lambda run: run.turns, count)
CALLS: Final = Quantity("Sub-calls", "calls made from code per run", lambda run: run.calls, count)


def scale(axes: Axes, which: str, quantity: Quantity, values: Sequence[float]) -> None:
    """A logarithmic axis where values differ by much, which goes on to zero where some are zero, or next to it."""
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    set_limits: Callable[[float, float], object] = axes.set_xlim if which == "x" else axes.set_ylim
    set_scale: Callable[..., object] = axes.set_xscale if which == "x" else axes.set_yscale
    low, high = min(values, default=0.0), max(values, default=0.0)
    least = max(min((value for value in values if value > 0), default=0.0), high / DECADES)
    if low < 0 or high <= SPREAD * least:
        axis.set_major_locator(MaxNLocator(5, integer=quantity.form is count))
        margin = max(0.06 * ((high - low) or abs(high) or 1.0), 0.5 if quantity.form is count else 0.0)
        set_limits(low - margin if low < 0 else max(0.0, low - margin) * (low > 2 * (high - low)), high + margin)
    else:
        zero = low < least
        set_scale("symlog", linthresh=least) if zero else set_scale("log")
        axis.set_major_locator(FixedLocator(ticks(least, high, quantity, zero=zero)))
        axis.set_minor_locator(NullLocator())
        room = (high / least) ** 0.04
        set_limits(-0.3 * least if zero else least / room, high * room)
    axis.set_major_formatter(FuncFormatter(lambda value, _: quantity.form(value)))


def ticks(least: float, high: float, quantity: Quantity, *, zero: bool) -> list[float]:
    """Powers of ten, and round times; fewer where there are many."""
    powers = range(floor(log10(least)), ceil(log10(high)) + 1)
    found = [t for t in (TIMES if quantity.form is duration else [10.0**p for p in powers]) if least <= t <= high]
    if len(found) < 3:
        found = [f * 10.0**p for p in powers for f in (1, 2, 5) if least <= f * 10.0**p <= high]
    step = ceil(len(found) / 5)
    return ([0.0] if zero else []) + found[::step]


@functools.cache
def glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def name(text: str) -> str:
    """One short line of what the font has; anything else as an escape."""
    line = " ".join(printable(text[:1_000]).split())
    known = "".join(c if ord(c) in glyphs() else c.encode("unicode_escape").decode("ascii") for c in line)
    short = shortened(known, LONGEST_NAME) or "(no name)"
    return f" {short}" if short.startswith("_") else short  # a legend leaves out what begins with one
