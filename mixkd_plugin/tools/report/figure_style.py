"""How figures look: one colour and marker for each arm in all of them, panels, legend outside."""

import logging
import os
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .statistics import summarize
from .tables import ARMS, Seeds

# Okabe and Ito's colours and one of Tol's, told apart by the colour-blind; the marker says the same
# without colour.
ALL_LOOKS = (
    ("#000000", "o"),
    ("#E69F00", "s"),
    ("#B5A800", "h"),
    ("#56B4E9", "^"),
    ("#009E73", "v"),
    ("#0072B2", "D"),
    ("#CC79A7", "P"),
    ("#D55E00", "X"),
    ("#882255", "*"),
    ("#7A3E9D", "p"),
    ("#6B4423", "<"),
    ("#4D5B6A", ">"),
)
LOOKS = dict(zip(ARMS, ALL_LOOKS))
TEACHER_LINE = {"color": "0.35", "linestyle": (0, (5, 2)), "linewidth": 1.2}
SETTINGS = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.7,
}
DPI = 200


class Look(NamedTuple):
    color: str
    marker: str
    linestyle: str
    fill: str  # of the marker

    def of_line(self) -> Dict[str, Any]:
        return {
            "color": self.color,
            "marker": self.marker,
            "linestyle": self.linestyle,
            "markerfacecolor": self.fill,
            "linewidth": 1.6,
            "markersize": 5,
        }


def pyplot():
    """matplotlib, drawing into files.

    Raises:
        ValueError: where it is not installed.
    """
    # hydra, inside fairseq's loader, turns on everybody's debugging messages
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    try:
        import matplotlib
    except ImportError as error:
        raise ValueError("figures need matplotlib: pip install '.[quickstart]'") from error

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def looks(labels: Sequence[str]) -> Dict[str, Look]:
    """Of every label: its arm's colour and marker; dashed and hollow where data are not gold."""
    arms = list(dict.fromkeys(label.partition(", ")[0] for label in labels))
    known = {arm: LOOKS[arm] for arm in arms if arm in LOOKS}
    free = [look for look in reversed(ALL_LOOKS) if look not in known.values()]
    others = [arm for arm in arms if arm not in known]
    known.update({arm: free[i % len(free)] for i, arm in enumerate(others)})
    found = {}
    for label in labels:
        arm, _, data = label.partition(", ")
        color, marker = known[arm]
        found[label] = Look(color, marker, *(("--", "white") if data else ("-", color)))
    return found


def panels(count: int, across: int, width: float = 2.7, height: float = 2.1) -> Tuple[Any, List]:
    """A figure with so many axes, in rows of ``across``; inches of each."""
    plt = pyplot()
    across = min(count, across)
    down = -(-count // across)
    with plt.rc_context(SETTINGS):
        figure, grid = plt.subplots(
            down,
            across,
            squeeze=False,
            figsize=(max(width * across, 3.4), height * down + 0.7),
            layout="constrained",
        )
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def wide(count: int) -> int:
    """Panels side by side: few, so that letters stay legible in a paper's column."""
    return count if count <= 2 else 2 if count == 4 else 3


def ticks_at(axes, xs: Sequence[float], log: bool, names: Optional[Sequence[str]] = None) -> None:
    """Ticks of the x axis at these alone, linear or logarithmic."""
    axes.set_xscale("log" if log else "linear")
    axes.set_xticks(xs, names or [f"{x:g}" for x in xs])
    axes.minorticks_off()


def apart(i: int, count: int, xs: Sequence[float], log: bool) -> Callable[[float], float]:
    """Moves x of the i-th of several lines a little, so that error bars do not hide each other.

    ``xs`` are all that the axis has.
    """
    step = 0.013 * (i - (count - 1) / 2)
    low, high = min(xs), max(xs)
    return (lambda x: x * (high / low) ** step) if log else (lambda x: x + (high - low) * step)


def line(axes, points: Mapping[float, Seeds], look: Look, band: bool = False) -> None:
    """Means over seeds against x, with bars or a band of one standard error."""
    summaries = [summarize(seeds.values()) for seeds in points.values()]
    means = [summary.mean for summary in summaries]
    errors = [summary.standard_error for summary in summaries]
    if band:
        low, high = ([m + s * e for m, e in zip(means, errors)] for s in (-1, 1))
        axes.fill_between(list(points), low, high, color=look.color, alpha=0.13, linewidth=0)
        axes.plot(list(points), means, **look.of_line())
    else:
        axes.errorbar(
            list(points), means, yerr=errors, capsize=2.5, elinewidth=1.1, **look.of_line()
        )


def save(figure, out: str, name: str, shown: Mapping[str, Look], teacher: bool = False) -> str:
    """Write OUT/NAME.png with one legend above all panels; the file's name."""
    plt = pyplot()
    from matplotlib.lines import Line2D

    with plt.rc_context(SETTINGS):
        handles = [Line2D([], [], label=label, **look.of_line()) for label, look in shown.items()]
        if teacher:
            handles.append(Line2D([], [], label="teacher", **TEACHER_LINE))
        if handles:
            across = min(len(handles), max(1, int(figure.get_figwidth() / 1.55)))
            figure.legend(handles=handles, loc="outside upper center", ncols=across,
                          frameon=False, handlelength=2.2, columnspacing=1.4)  # fmt: skip
        file = re.sub(r"[^\w.+-]+", "_", name) + ".png"
        figure.savefig(os.path.join(out, file), dpi=DPI)
        plt.close(figure)
    return file
