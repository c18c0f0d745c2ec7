"""Figures of many runs as PNG files, in one style whatever the person's own matplotlib settings are.

What a run does not know is said in words and never drawn as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure, SubFigure
from matplotlib.typing import RcKeyType

from rlm.cli.stats.measure import Measured
from rlm.cli.stats.panels import Drawn, distributions, models, over_time, spending

STYLE: Final[dict[RcKeyType, Any]] = {
    "text.parse_math": False,  # a model may be named `$x$`
    "date.converter": "concise",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.35",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "xtick.color": "0.25",
    "ytick.color": "0.25",
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "figure.dpi": 100,
    "savefig.dpi": 200,
}
FIGURES: Final[dict[str, tuple[Callable[[Figure | SubFigure, Drawn], None], tuple[float, float]]]] = {
    "distributions": (distributions, (6.6, 4.8)),
    "cost-time": (spending, (5.2, 4.0)),
    "models": (models, (6.6, 3.4)),
    "over-time": (over_time, (6.6, 3.8)),
}
OVERVIEW: Final = "overview"


def write_plots(runs: Sequence[Measured], folder: Path) -> None:
    """One file for each figure, and one with all of them.

    Raises:
        OSError: one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with style():
        drawn = Drawn(runs)
        for name, (draw, size) in FIGURES.items():
            figure = Figure(figsize=size, layout="constrained")
            draw(figure, drawn)
            save(figure, folder / f"{name}.png")
        save(overview(drawn), folder / f"{OVERVIEW}.png")


@contextmanager
def style() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def overview(drawn: Drawn) -> Figure:
    figure = Figure(figsize=(12.4, 8.4), layout="constrained")
    parts = figure.subfigures(
        2, 2, squeeze=False, width_ratios=(6.4, 6.0), height_ratios=(4.8, 3.6), wspace=0.04, hspace=0.04
    )
    for part, (draw, _) in zip(parts.flat, FIGURES.values(), strict=True):
        draw(part, drawn)
    return figure


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})
