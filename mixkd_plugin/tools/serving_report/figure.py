"""The figure of a serving report: quality, latency, throughput, size; one bar a format."""

from typing import Any, Dict

from ..report.figure_style import SETTINGS, pyplot

COLORS = ("#5B5B5B", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito's
TOP = 1.32  # room for the numbers beside the bars


def plot_serving(rows: Dict[str, Dict[str, Any]], metric: str, heading: str, path: str) -> None:
    """Write ``path``.

    Args:
        rows: as from ``serving_report``, the teacher's first
        metric: key of the quality to show, and its heading
    """
    plt = pyplot()
    panels = {
        metric: (heading, "{:.1f}"),
        "p50": ("latency of one text, ms\n(bar: p50, line: to p95)", "{:.1f}"),
        "sentences_per_second": ("texts a second", "{:.0f}"),
        "megabytes": ("MB of weights", "{:.0f}"),
    }
    names = list(dict.fromkeys(row["name"] for row in rows.values()))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    heights = [-(i + 0.8 * names.index(row["name"])) for i, row in enumerate(rows.values())]
    with plt.rc_context(SETTINGS):
        figure, axes = plt.subplots(
            1, len(panels), sharey=True, layout="constrained",
            figsize=(2.5 * len(panels) + 1.6, 0.3 * len(rows) + 1.5),
        )  # fmt: skip
        for axis, (key, (title, form)) in zip(axes, panels.items()):
            values = [row[key] for row in rows.values()]
            shown = [colors[row["name"]] for row in rows.values()]
            axis.barh(heights, values, height=0.72, color=shown)
            ends = values
            if key == "p50":
                ends = [row["p95"] for row in rows.values()]
                axis.hlines(heights, values, ends, color="0.2", linewidth=1.2)
            for height, value, end in zip(heights, values, ends):
                axis.annotate(form.format(value), (end, height), (3, 0),
                              textcoords="offset points", va="center", fontsize=8)  # fmt: skip
            axis.set_xlim(min(0, *values), TOP * max(*ends, 1e-9))
            axis.set_title(title)
            axis.grid(False, axis="y")
        axes[0].set_yticks(heights, labels=list(rows))
        figure.savefig(path, dpi=200)
        plt.close(figure)
